//! Bodies that name a device, a tollgate or a subscription, and hold nothing else that is read.

use serde::Deserialize;

use super::objects::OneOrMore;
use crate::source::loose::Loose;

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct DeviceObject {
    #[serde(rename = "DeviceID")]
    device_id: Loose,
}

/// The body of `/VIID/System/*`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct System {
    #[serde(rename = "RegisterObject")]
    register: DeviceObject,
    #[serde(rename = "UnRegisterObject")]
    unregister: DeviceObject,
    #[serde(rename = "KeepaliveObject")]
    keepalive: DeviceObject,
}

impl System {
    pub(super) fn device_id(&self) -> Option<&str> {
        [&self.register, &self.unregister, &self.keepalive].into_iter().find_map(|object| object.device_id.text())
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Tollgates {
    #[serde(rename = "TollgateListObject")]
    pub(super) list: TollgateList,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct TollgateList {
    #[serde(rename = "TollgateObject")]
    pub(super) objects: OneOrMore<Tollgate>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Subscribes {
    #[serde(rename = "SubscribeListObject")]
    pub(super) list: SubscribeList,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct SubscribeList {
    #[serde(rename = "SubscribeObject")]
    pub(super) objects: OneOrMore<Subscribe>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Subscribe {
    #[serde(rename = "SubscribeID")]
    pub(super) id: Loose,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Tollgate {
    #[serde(rename = "TollgateID")]
    pub(super) id: Loose,
}
