//! Finds settings of a Redis server that may lose grants or fill the machine's memory.

/// Lists the unsafe settings, and what to set instead, from the reply to `INFO memory persistence`. Fields that
/// are missing from the reply are not judged.
pub fn redis_dangers(info: &str) -> Vec<String> {
    let field = |name: &str| {
        let fields = info.lines().filter_map(|line| line.split_once(':'));
        let mut named = fields.filter(|(field, _)| *field == name);
        named.next().map(|(_, value)| value.trim())
    };
    let mut dangers = vec![];
    if field("maxmemory") == Some("0") {
        dangers.push(
            "maxmemory is not set: when the machine's memory is full, the kernel kills Redis. With a limit, Redis only refuses grants. \
             Set maxmemory to at most half of the memory: rewriting the append-only file may need as much again"
                .to_owned(),
        );
    }
    // The other policies evict only keys that expire, and the gate's keys do not expire.
    if let Some(policy) = field("maxmemory_policy")
        && policy.starts_with("allkeys")
    {
        dangers.push(format!(
            "maxmemory-policy is {policy}: a full Redis deletes grants to make room. Set it to noeviction"
        ));
    }
    if field("aof_enabled") == Some("0") {
        dangers.push(
            "there is no append-only file: a restart loses grants that applicants were told about. Set appendonly yes and appendfsync always"
                .to_owned(),
        );
    }
    dangers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_settings_are_listed_and_missing_fields_are_not_judged() {
        let info = |maxmemory: &str, policy: &str, aof: &str| {
            format!(
                "# Memory\r\nused_memory:1\r\nmaxmemory:{maxmemory}\r\nmaxmemory_human:x\r\nmaxmemory_policy:{policy}\r\n\r\n\
                 # Persistence\r\nloading:0\r\naof_enabled:{aof}\r\n"
            )
        };
        let begin = |info: &str| -> Vec<String> {
            let dangers = redis_dangers(info).into_iter();
            dangers
                .map(|danger| danger.chars().take(16).collect())
                .collect()
        };
        assert_eq!(begin(&info("1000", "noeviction", "1")), [""; 0]);
        assert_eq!(begin(&info("1000", "volatile-lru", "1")), [""; 0]);
        assert_eq!(begin(&info("0", "noeviction", "1")), ["maxmemory is not"]);
        assert_eq!(begin(&info("1", "allkeys-lru", "1")), ["maxmemory-policy"]);
        assert_eq!(begin(&info("1", "noeviction", "0")), ["there is no appe"]);
        assert_eq!(begin(&info("0", "allkeys-random", "0")).len(), 3);
        assert_eq!(begin(""), [""; 0]);
    }
}
