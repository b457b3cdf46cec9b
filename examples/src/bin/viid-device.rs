//! A camera of GA/T 1400 in front of a running weir.
//!
//! Usage: `viid-device ADDRESS DEVICE_ID USER PASSWORD [PASSAGES]`, with a source such as
//! `{ type: viid, address: 127.0.0.1:7100, server_id: "...", accounts: accounts.csv, timezone: Asia/Shanghai }`. It
//! registers, sends, loses its connection, comes back and sends what has waited. `viid-device account DEVICE_ID USER REALM`
//! reads a password from standard input and prints a file of accounts with this one in it.
#![forbid(unsafe_code)]

use std::io::{self, BufRead};

use weir_examples::viid::{Device, ha1, passage};

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["account", device, user, realm] => {
            let mut password = String::new();
            io::stdin().lock().read_line(&mut password)?;
            println!("device_id,user,ha1\n{device},{user},{}", ha1(user, realm, password.trim_end_matches('\n')));
            Ok(())
        }
        [address, device, user, password] => run(address, device, user, password, 1_000),
        [address, device, user, password, passages] => {
            run(address, device, user, password, passages.parse().map_err(io::Error::other)?)
        }
        _ => Err(io::Error::other("usage: viid-device ADDRESS DEVICE_ID USER PASSWORD [PASSAGES]")),
    }
}

fn run(address: &str, id: &str, user: &str, password: &str, passages: u64) -> io::Result<()> {
    let mut device = Device::new(address.parse().map_err(io::Error::other)?, id, user, password);
    device.register()?;
    println!("registered; the keep-alive is answered with {}", device.keep_alive()?.status);
    let time = device.request("GET", "/VIID/System/Time", &[], &serde_json::Value::Null)?;
    let local_time = time.body["SystemTimeObject"]["LocalTime"].as_str().unwrap_or("20260101000000").to_owned();
    let mut taken = 0;
    for part in 0..4 {
        for number in 0..passages / 4 {
            let number = part * (passages / 4) + number;
            device.pass(passage(id, number, &local_time, &format!("陕A{:05}", number % 100_000)));
        }
        if part == 2 {
            device.lose_connection();
            println!("the connection is lost; {} passages wait", device.backlog());
            continue;
        }
        let statuses = device.deliver()?;
        taken += statuses.iter().filter(|status| status["StatusCode"] == 0).count();
        println!("{} answered, {taken} taken so far", statuses.len());
    }
    Ok(())
}
