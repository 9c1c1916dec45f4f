//! Settings of a Redis with which it loses grants, or takes the machine down.

/// What is unsafe about a Redis, and what to set, by its reply to `INFO memory persistence`. What that does not tell is not
/// judged.
pub fn redis_dangers(info: &str) -> Vec<String> {
    let field = |name: &str| {
        let fields = info.lines().filter_map(|line| line.split_once(':'));
        let mut named = fields.filter(|(field, _)| *field == name);
        named.next().map(|(_, value)| value.trim())
    };
    let mut dangers = vec![];
    if field("maxmemory") == Some("0") {
        dangers.push(
            "maxmemory is not set: a full machine ends Redis, where a limit would only make it refuse grants. Set it, with \
             as much again left for the rewrite of the append-only file"
                .to_owned(),
        );
    }
    // The others touch only keys that expire, and none of the gate's does.
    if let Some(policy) = field("maxmemory_policy")
        && policy.starts_with("allkeys")
    {
        dangers.push(format!(
            "maxmemory-policy is {policy}: a full Redis forgets grants to make room. Set it to noeviction"
        ));
    }
    if field("aof_enabled") == Some("0") {
        dangers.push(
            "there is no append-only file: a restart forgets grants that were told. Set appendonly yes, and appendfsync always"
                .to_owned(),
        );
    }
    dangers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unsafe_is_told_and_what_is_not_known_is_not() {
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
