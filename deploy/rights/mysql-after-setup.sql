-- The rights of consumer and operator, by table and column. An administrator runs this after the first `rushgate setup`,
-- when the tables exist, and after the `rushgate setup` of each new version, which may need more rights.

GRANT SELECT (campaign_id, state, one_per, codes, code_key), UPDATE (state) ON `rushgate`.`campaigns` TO 'rushgate-consumer'@'%';
GRANT SELECT (campaign_id, round_id, quota) ON `rushgate`.`rounds` TO 'rushgate-consumer'@'%';
GRANT SELECT,
    INSERT (campaign_id, round_id, serial, user_id, state, quota, person_scope, granted_at, revoked_at, turn, win, code,
        code_number),
    UPDATE (state, granted_at, revoked_at, code, code_number)
    ON `rushgate`.`coupons` TO 'rushgate-consumer'@'%';
GRANT SELECT,
    INSERT (topic, kafka_partition, kafka_offset, kafka_timestamp, record_key, payload, headers, all_headers, reason,
        detail, attempts),
    UPDATE (reason, detail, attempts, resolution, resolved_at, resolution_note)
    ON `rushgate`.`failed_events` TO 'rushgate-consumer'@'%';
GRANT SELECT (action), INSERT (campaign_id, action, detail) ON `rushgate`.`campaign_log` TO 'rushgate-consumer'@'%';

GRANT SELECT,
    INSERT (campaign_id, state, one_per),
    UPDATE (state, one_per, projected_at, waitlist, user_ids, codes, code_key, self_cancel, promote_until, valid_until,
        show_remaining, timezone, first_day, last_day, opens_local, open_for_s, fencing_token)
    ON `rushgate`.`campaigns` TO 'rushgate-operator'@'%';
-- For ON DUPLICATE KEY UPDATE, MariaDB requires UPDATE on all columns.
GRANT SELECT, INSERT, UPDATE, DELETE ON `rushgate`.`rounds` TO 'rushgate-operator'@'%';
GRANT SELECT, UPDATE (code, code_number, redeemed_at, order_id) ON `rushgate`.`coupons` TO 'rushgate-operator'@'%';
GRANT SELECT, INSERT ON `rushgate`.`pool_codes` TO 'rushgate-operator'@'%';
GRANT SELECT, UPDATE (resolution, resolved_at, resolution_note)
    ON `rushgate`.`failed_events` TO 'rushgate-operator'@'%';
GRANT SELECT, INSERT (campaign_id, action, detail, reason, actor, round_id, serial, user_id)
    ON `rushgate`.`campaign_log` TO 'rushgate-operator'@'%';
GRANT SELECT, INSERT (campaign_id, fencing_token, actor, deed, reason), UPDATE (fencing_token), DELETE
    ON `rushgate`.`intentions` TO 'rushgate-operator'@'%';
-- So that it can repeat a `rushgate setup` that has no table to change.
GRANT SELECT ON `rushgate`.`_sqlx_migrations` TO 'rushgate-operator'@'%';
