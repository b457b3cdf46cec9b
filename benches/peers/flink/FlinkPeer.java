import java.io.OutputStream;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.apache.flink.api.common.JobExecutionResult;
import org.apache.flink.api.common.accumulators.LongCounter;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.functions.RichFlatMapFunction;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple3;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.MemorySize;
import org.apache.flink.configuration.PipelineOptions;
import org.apache.flink.configuration.TaskManagerOptions;
import org.apache.flink.connector.file.src.FileSource;
import org.apache.flink.connector.file.src.reader.TextLineInputFormat;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonFactory;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonParser;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonToken;
import org.apache.flink.runtime.util.EnvironmentInformation;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.streaming.api.functions.sink.legacy.RichSinkFunction;
import org.apache.flink.streaming.api.functions.sink.v2.DiscardingSink;
import org.apache.flink.table.api.Schema;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;
import org.apache.flink.types.Row;
import org.apache.flink.util.Collector;

/**
 * The reference workload in Apache Flink: {@code FlinkPeer FOLDER RUNS}, one JSON line a query; or
 * {@code FlinkPeer latency IN OUT LIST}, which reads records from one port and writes the lane of each hit to another.
 *
 * <p>Parallelism 2, objects reused, state on the heap, records parsed with Jackson's streaming parser and no more of
 * them than a query needs, windows by the SQL planner, whose hopping windows share panes and aggregate in two phases.
 * Lists are sets in memory, loaded before the clock starts; the file is in two parts, since Flink does not divide one
 * of text lines. A run is timed from the submission of its job to its end, in a JVM that has run before.
 */
public final class FlinkPeer {
  static final long MANY = 500;
  static final long FULL = 300;
  static final long STEP_MS = 5_000;
  static Set<String> plates;
  static Set<String> documents;

  /** What a query needs of a record. */
  static final class Fields {
    static final JsonFactory JSON = new JsonFactory();
    String kind;
    String plate;
    String document;
    String status;
    String zone;
    String person;
    String lane;
    long ts;

    void read(String line, boolean crowd) throws Exception {
      kind = plate = document = status = zone = person = lane = null;
      try (JsonParser parser = JSON.createParser(line)) {
        parser.nextToken();
        while (parser.nextToken() == JsonToken.FIELD_NAME) {
          String name = parser.currentName();
          JsonToken value = parser.nextToken();
          switch (name) {
            case "kind" -> kind = parser.getText();
            case "plate" -> plate = parser.getText();
            case "doc_number" -> document = parser.getText();
            case "status" -> status = parser.getText();
            case "lane" -> lane = parser.getText();
            case "zone" -> zone = crowd ? parser.getText() : null;
            case "person_id" -> person = crowd ? parser.getText() : null;
            case "ts" -> ts = crowd ? Instant.parse(parser.getText()).toEpochMilli() : 0;
            default -> {
              if (value.isStructStart()) {
                parser.skipChildren();
              }
            }
          }
        }
      }
    }

    boolean hits() {
      return switch (kind) {
        case "vehicle" -> plates.contains(plate);
        case "id" -> documents.contains(document);
        case "code" -> "red".equals(status);
        default -> false;
      };
    }
  }

  /** Counts hits and hands people on, whichever of the two the query asks for. */
  static final class Read extends RichFlatMapFunction<String, Tuple3<String, String, Long>> {
    final boolean screening;
    final boolean crowd;
    final LongCounter hits = new LongCounter();
    transient Fields fields;

    Read(boolean screening, boolean crowd) {
      this.screening = screening;
      this.crowd = crowd;
    }

    @Override
    public void open(OpenContext context) {
      fields = new Fields();
      getRuntimeContext().addAccumulator("hits", hits);
    }

    @Override
    public void flatMap(String line, Collector<Tuple3<String, String, Long>> out) throws Exception {
      fields.read(line, crowd);
      if (screening && fields.hits()) {
        hits.add(1);
      }
      if (crowd && "person".equals(fields.kind)) {
        out.collect(Tuple3.of(fields.zone, fields.person, fields.ts));
      }
    }
  }

  /** Counts the windows in which a zone enters a level. A zone without a window is below it. */
  static final class Levels extends KeyedProcessFunction<String, Row, Void> {
    final LongCounter many = new LongCounter();
    final LongCounter full = new LongCounter();
    transient ValueState<Row> last;

    @Override
    public void open(OpenContext context) {
      getRuntimeContext().addAccumulator("many", many);
      getRuntimeContext().addAccumulator("full", full);
      last = getRuntimeContext().getState(new ValueStateDescriptor<>("last", Types.ROW(Types.LONG, Types.LONG, Types.LONG)));
    }

    @Override
    public void processElement(Row window, Context context, Collector<Void> out) throws Exception {
      long end = ((java.time.LocalDateTime) window.getField(1)).toInstant(java.time.ZoneOffset.UTC).toEpochMilli();
      long people = (Long) window.getField(2);
      long persons = (Long) window.getField(3);
      Row before = last.value();
      boolean follows = before != null && end - (Long) before.getField(0) == STEP_MS;
      if (people >= MANY && !(follows && (Long) before.getField(1) >= MANY)) {
        many.add(1);
      }
      if (persons >= FULL && !(follows && (Long) before.getField(2) >= FULL)) {
        full.add(1);
      }
      last.update(Row.of(end, people, persons));
    }
  }

  static StreamExecutionEnvironment environment() {
    Configuration config = new Configuration();
    config.set(PipelineOptions.OBJECT_REUSE, true);
    config.set(TaskManagerOptions.NETWORK_MEMORY_MAX, MemorySize.ofMebiBytes(256));
    config.set(TaskManagerOptions.MANAGED_MEMORY_SIZE, MemorySize.ofMebiBytes(512));
    StreamExecutionEnvironment environment = StreamExecutionEnvironment.createLocalEnvironment(2, config);
    return environment;
  }

  static List<Long> query(String folder, boolean screening, boolean crowd) throws Exception {
    StreamExecutionEnvironment environment = environment();
    FileSource<String> source =
        FileSource.forRecordStreamFormat(new TextLineInputFormat(), new org.apache.flink.core.fs.Path(folder + "/parts"))
            .build();
    WatermarkStrategy<String> none = WatermarkStrategy.noWatermarks();
    DataStream<Tuple3<String, String, Long>> people =
        environment
            .fromSource(source, none, "records")
            .flatMap(new Read(screening, crowd))
            .returns(Types.TUPLE(Types.STRING, Types.STRING, Types.LONG));
    if (crowd) {
      people =
          people.assignTimestampsAndWatermarks(
              WatermarkStrategy.<Tuple3<String, String, Long>>forBoundedOutOfOrderness(Duration.ofMillis(STEP_MS))
                  .withTimestampAssigner((person, ts) -> person.f2));
      StreamTableEnvironment tables = StreamTableEnvironment.create(environment);
      tables.getConfig().setLocalTimeZone(java.time.ZoneOffset.UTC);
      tables.createTemporaryView(
          "people",
          people,
          Schema.newBuilder()
              .column("f0", "STRING")
              .column("f1", "STRING")
              .column("f2", "BIGINT")
              .columnByExpression("rowtime", "TO_TIMESTAMP_LTZ(f2, 3)")
              .watermark("rowtime", "SOURCE_WATERMARK()")
              .build());
      String sql =
          "SELECT f0, window_end, COUNT(*), COUNT(DISTINCT f1) FROM TABLE(HOP(TABLE people, DESCRIPTOR(rowtime), "
              + "INTERVAL '5' SECOND, INTERVAL '60' SECOND)) GROUP BY f0, window_start, window_end";
      tables
          .toDataStream(tables.sqlQuery(sql))
          .keyBy(row -> (String) row.getField(0), Types.STRING)
          .process(new Levels())
          .returns(Types.VOID)
          .sinkTo(new DiscardingSink<>());
    } else {
      people.sinkTo(new DiscardingSink<>());
    }
    JobExecutionResult result = environment.execute();
    List<Long> counts = new ArrayList<>();
    if (screening) {
      counts.add(result.getAccumulatorResult("hits"));
    }
    if (crowd) {
      counts.add(result.getAccumulatorResult("many"));
      counts.add(result.getAccumulatorResult("full"));
    }
    return counts;
  }

  static Set<String> list(String path, String column) throws Exception {
    Set<String> list = new HashSet<>();
    List<String> lines = Files.readAllLines(Path.of(path));
    int place = List.of(lines.get(0).split(",")).indexOf(column);
    for (String line : lines.subList(1, lines.size())) {
      list.add(line.split(",", -1)[place]);
    }
    return list;
  }

  /** Writes the lane of every hit to a port. */
  static final class ToPort extends RichSinkFunction<String> {
    final int port;
    transient OutputStream out;

    ToPort(int port) {
      this.port = port;
    }

    @Override
    public void open(OpenContext context) throws Exception {
      Socket socket = new Socket("127.0.0.1", port);
      socket.setTcpNoDelay(true);
      out = socket.getOutputStream();
    }

    @Override
    public void invoke(String lane, Context context) throws Exception {
      out.write((lane + "\n").getBytes(StandardCharsets.US_ASCII));
    }

    @Override
    public void close() throws Exception {
      if (out != null) {
        out.close();
      }
    }
  }

  static final class Lanes extends RichFlatMapFunction<String, String> {
    transient Fields fields;

    @Override
    public void open(OpenContext context) {
      fields = new Fields();
    }

    @Override
    public void flatMap(String line, Collector<String> out) throws Exception {
      fields.read(line, false);
      if (fields.hits()) {
        out.collect(fields.lane);
      }
    }
  }

  static long cpuNs() {
    return ((com.sun.management.OperatingSystemMXBean) java.lang.management.ManagementFactory.getOperatingSystemMXBean())
        .getProcessCpuTime();
  }

  static long peakMib() throws Exception {
    for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
      if (line.startsWith("VmHWM:")) {
        return Long.parseLong(line.replaceAll("[^0-9]", "")) / 1024;
      }
    }
    return 0;
  }

  public static void main(String[] args) throws Exception {
    if (args[0].equals("latency")) {
      plates = new HashSet<>(Files.readAllLines(Path.of(args[3])));
      StreamExecutionEnvironment environment = environment();
      // One chain of operators in one thread: nothing is buffered between them.
      environment.setParallelism(1);
      environment.setBufferTimeout(0);
      environment
          .socketTextStream("127.0.0.1", Integer.parseInt(args[1]))
          .flatMap(new Lanes())
          .addSink(new ToPort(Integer.parseInt(args[2])));
      environment.execute();
      return;
    }
    String folder = args[0];
    plates = list(folder + "/lists/stolen_plates.csv", "plate");
    documents = list(folder + "/lists/lost_documents.csv", "doc_number");
    for (String query : List.of("q1", "q2", "q3")) {
      List<Long> counts = List.of();
      StringBuilder seconds = new StringBuilder();
      StringBuilder cpu = new StringBuilder();
      for (int run = 0; run < Integer.parseInt(args[1]); run++) {
        long started = System.nanoTime();
        long before = cpuNs();
        counts = query(folder, !query.equals("q2"), !query.equals("q1"));
        seconds.append(run == 0 ? "" : ", ").append((System.nanoTime() - started) / 1_000_000 / 1e3);
        cpu.append(run == 0 ? "" : ", ").append((cpuNs() - before) / 1_000_000 / 1e3);
      }
      System.out.printf(
          "{\"peer\": \"Flink %s\", \"query\": \"%s\", \"counts\": %s, \"seconds\": [%s], \"cpu\": [%s], \"peak_mib\": %d}%n",
          EnvironmentInformation.getVersion(), query, counts, seconds, cpu, peakMib());
      System.out.flush();
    }
  }
}
