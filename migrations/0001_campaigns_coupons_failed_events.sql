-- What Rushgate keeps: campaigns and their rounds, the coupons that grants became, and what could not become
-- one. Written for MySQL 8.4 and 9 and MariaDB 10.11 alike, in the syntax that they share.
--
-- Every time is UTC, whatever the session's time zone is: hence UTC_TIMESTAMP and not CURRENT_TIMESTAMP.
-- Ids are ASCII and compared byte by byte, as the gate compares them; `utf8mb4` is for text that people read.
-- Foreign keys have no actions (no CASCADE): MySQL allows neither a CHECK nor a stored generated column on a
-- column that an action could change, and history must not go with the row that it belongs to.

CREATE TABLE campaigns (
    campaign_id  VARCHAR(48)  NOT NULL,
    state        VARCHAR(16)  NOT NULL,
    -- How often one person may win. Not to be changed once coupons exist: they carry it as `person_scope`.
    one_per      VARCHAR(16)  NOT NULL,
    created_at   DATETIME(3)  NOT NULL DEFAULT (UTC_TIMESTAMP(3)),
    -- When the gate was first told of it. From then on serials may be out, and a gate that does not know the
    -- campaign has lost it: it must not be told of it again as if it were new.
    projected_at DATETIME(3)  NULL,

    PRIMARY KEY (campaign_id),
    CONSTRAINT campaigns_state_is_known CHECK (state IN ('running', 'paused', 'closed', 'halted')),
    CONSTRAINT campaigns_one_per_is_known CHECK (one_per IN ('campaign', 'round'))
) ENGINE = InnoDB DEFAULT CHARACTER SET ascii COLLATE ascii_bin;

CREATE TABLE rounds (
    campaign_id  VARCHAR(48)  NOT NULL,
    round_id     VARCHAR(32)  NOT NULL,
    opens_at     DATETIME(3)  NULL,     -- NULL: it has always been open
    closes_at    DATETIME(3)  NULL,     -- NULL: it never closes
    quota        INT UNSIGNED NOT NULL,

    PRIMARY KEY (campaign_id, round_id),
    CONSTRAINT rounds_campaign FOREIGN KEY (campaign_id) REFERENCES campaigns (campaign_id),
    CONSTRAINT rounds_quota_in_range CHECK (quota BETWEEN 1 AND 100000000),
    CONSTRAINT rounds_window_is_not_empty CHECK (opens_at IS NULL OR closes_at IS NULL OR opens_at < closes_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET ascii COLLATE ascii_bin;

-- One row a grant. The keys below, and nothing else, make a 101st coupon impossible: serials of active rows
-- are unique in their round, and none is above the quota.
CREATE TABLE coupons (
    id             BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    campaign_id    VARCHAR(48)     NOT NULL,
    round_id       VARCHAR(32)     NOT NULL,
    serial         INT UNSIGNED    NOT NULL,
    user_id        VARCHAR(64)     NOT NULL,
    state          VARCHAR(16)     NOT NULL DEFAULT 'active',
    -- The round's quota when the row was inserted: a CHECK cannot look into another table.
    quota          INT UNSIGNED    NOT NULL,
    -- Within what one person may win once: '' is the whole campaign, else it is the round.
    person_scope   VARCHAR(32)     NOT NULL,
    granted_at     DATETIME(3)     NOT NULL,                             -- by the gate's clock
    issued_at      DATETIME(3)     NOT NULL DEFAULT (UTC_TIMESTAMP(3)),  -- when this row was written
    revoked_at     DATETIME(3)     NULL,

    -- The serial and the person, as long as they are taken. NULL is equal to nothing in a unique key, so a
    -- revoked row gives both back and stays as history. STORED, so that both servers can index them alike.
    active_serial  INT UNSIGNED    GENERATED ALWAYS AS (IF(state = 'active', serial, NULL)) STORED,
    active_user_id VARCHAR(64)     GENERATED ALWAYS AS (IF(state = 'active', user_id, NULL)) STORED,

    PRIMARY KEY (id),
    UNIQUE KEY coupons_one_per_serial (campaign_id, round_id, active_serial),
    UNIQUE KEY coupons_one_per_person (campaign_id, person_scope, active_user_id),
    -- A grant becomes one row once and for all, so that one which is delivered again after it was revoked
    -- does not come back to life. (The gate gives nobody a serial again that was taken back from him.)
    UNIQUE KEY coupons_one_per_grant (campaign_id, round_id, serial, user_id),
    CONSTRAINT coupons_round FOREIGN KEY (campaign_id, round_id) REFERENCES rounds (campaign_id, round_id),
    CONSTRAINT coupons_serial_within_quota CHECK (serial BETWEEN 1 AND quota),
    CONSTRAINT coupons_state_is_known CHECK (state IN ('active', 'revoked')),
    CONSTRAINT coupons_revoked_at_if_revoked CHECK ((state = 'revoked') = (revoked_at IS NOT NULL)),
    CONSTRAINT coupons_person_scope_is_known CHECK (person_scope = '' OR person_scope = round_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET ascii COLLATE ascii_bin;

-- Dead letters: records of the topic that can never become a coupon as things stand, with all that is needed
-- to see why and to replay them.
CREATE TABLE failed_events (
    id              BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    topic           VARCHAR(249)    NOT NULL,   -- Kafka's longest
    kafka_partition INT UNSIGNED    NOT NULL,
    kafka_offset    BIGINT UNSIGNED NOT NULL,
    -- The record's timestamp in ms (0: it had none). It tells records of a topic that was deleted and made
    -- anew, whose offsets start again at 0, from those that failed before.
    kafka_timestamp BIGINT UNSIGNED NOT NULL,
    record_key      VARBINARY(1024) NULL,
    payload         BLOB            NULL,       -- the record's value, byte for byte; NULL: it had none
    headers         TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,   -- a JSON object
    reason          VARCHAR(32)     NOT NULL,   -- a stable code
    detail          VARCHAR(1024) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,   -- the same for people
    attempts        INT UNSIGNED    NOT NULL DEFAULT 1,
    created_at      DATETIME(3)     NOT NULL DEFAULT (UTC_TIMESTAMP(3)),
    resolution      VARCHAR(16)     NULL,       -- NULL: open
    resolved_at     DATETIME(3)     NULL,

    PRIMARY KEY (id),
    -- A record that is delivered again does not fail twice.
    UNIQUE KEY failed_events_one_per_record (topic, kafka_partition, kafka_offset, kafka_timestamp),
    KEY failed_events_by_resolution (resolution, id),
    CONSTRAINT failed_events_resolution_is_known CHECK (resolution IN ('replayed', 'discarded')),
    CONSTRAINT failed_events_resolved_at_if_resolved CHECK ((resolution IS NULL) = (resolved_at IS NULL))
) ENGINE = InnoDB DEFAULT CHARACTER SET ascii COLLATE ascii_bin;
