-- Campaigns that open every day, waitlists, coupons that change hands, and a log of what operators did.

ALTER TABLE campaigns
    -- The most people who may wait in a round; 0: nobody.
    ADD COLUMN waitlist    INT UNSIGNED NOT NULL DEFAULT 0,
    -- A daily campaign: a round on each day from the first to the last, in the organiser's own time zone.
    -- The rounds themselves are rows of `rounds`; this is what they were made of, and can be made anew from.
    ADD COLUMN timezone    VARCHAR(64)  NULL,     -- IANA, such as Asia/Seoul
    ADD COLUMN first_day   DATE         NULL,
    ADD COLUMN last_day    DATE         NULL,
    ADD COLUMN opens_local TIME         NULL,     -- local time of each opening
    ADD COLUMN open_for_s  INT UNSIGNED NULL,     -- how long a round stays open, in seconds
    ADD CONSTRAINT campaigns_waitlist_in_range CHECK (waitlist <= 10000),
    ADD CONSTRAINT campaigns_days_are_in_order CHECK (first_day <= last_day),
    ADD CONSTRAINT campaigns_open_for_in_range CHECK (open_for_s BETWEEN 1 AND 86400),
    ADD CONSTRAINT campaigns_schedule_is_whole CHECK (
        (timezone IS NULL AND first_day IS NULL AND last_day IS NULL AND opens_local IS NULL AND open_for_s IS NULL)
        OR (timezone IS NOT NULL AND first_day IS NOT NULL AND last_day IS NOT NULL AND opens_local IS NOT NULL
            AND open_for_s IS NOT NULL));

ALTER TABLE coupons
    -- How many times the serial had been given, and how many times the person had won (within what he may win
    -- once), this grant included. Kafka does not keep the order of events that are delivered again; these do.
    ADD COLUMN turn INT UNSIGNED NOT NULL DEFAULT 1,
    ADD COLUMN win  INT UNSIGNED NOT NULL DEFAULT 1,
    -- NULL: the coupon was revoked, and its grant is still on its way.
    MODIFY COLUMN granted_at DATETIME(3) NULL,
    ADD CONSTRAINT coupons_granted_at_if_active CHECK (state <> 'active' OR granted_at IS NOT NULL),
    -- For whoever asks about a person.
    ADD KEY coupons_by_person (user_id, campaign_id);

-- What was done to campaigns, and why. Rows are added, never changed.
CREATE TABLE campaign_log (
    id          BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    campaign_id VARCHAR(48)     NOT NULL,
    at          DATETIME(3)     NOT NULL DEFAULT (UTC_TIMESTAMP(3)),
    action      VARCHAR(16)     NOT NULL,
    detail      VARCHAR(1024) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,   -- what exactly
    reason      VARCHAR(1024) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,       -- why, in the operator's words

    PRIMARY KEY (id),
    KEY campaign_log_of_campaign (campaign_id, id),
    CONSTRAINT campaign_log_campaign FOREIGN KEY (campaign_id) REFERENCES campaigns (campaign_id),
    CONSTRAINT campaign_log_action_is_known CHECK (action IN
        ('created', 'changed', 'paused', 'resumed', 'closed', 'halted', 'restored', 'revoked'))
) ENGINE = InnoDB DEFAULT CHARACTER SET ascii COLLATE ascii_bin;
