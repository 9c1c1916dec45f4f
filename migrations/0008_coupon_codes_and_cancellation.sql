-- Coupons with a code, which is redeemed once; and applicants who give their coupon back.

ALTER TABLE campaigns
    -- Said when the campaign is created, and never changed. Campaigns that are older than this column have no codes.
    ADD COLUMN codes         VARCHAR(16) NOT NULL DEFAULT 'none',
    -- The fingerprint of the key that signs the codes.
    ADD COLUMN code_key      VARCHAR(16) NULL,
    -- Whether applicants may give their coupon back themselves.
    ADD COLUMN self_cancel   BOOLEAN     NOT NULL DEFAULT FALSE,
    -- How long a freed serial is passed on to the waitlist: while the round is open, or for ever. Campaigns that are older
    -- than this column keep 'forever', as before.
    ADD COLUMN promote_until VARCHAR(16) NOT NULL DEFAULT 'forever',
    -- Until when coupons can be redeemed. NULL: for ever.
    ADD COLUMN valid_until   DATETIME(3) NULL,
    ADD CONSTRAINT campaigns_codes_are_known CHECK (codes IN ('none', 'signed', 'pool')),
    ADD CONSTRAINT campaigns_code_key_if_signed CHECK ((codes = 'signed') = (code_key IS NOT NULL)),
    ADD CONSTRAINT campaigns_promote_until_is_known CHECK (promote_until IN ('closes', 'forever'));

ALTER TABLE coupons
    -- NULL: the campaign has no codes, or the code is not written yet.
    ADD COLUMN code        VARCHAR(64)  NULL,
    ADD COLUMN redeemed_at DATETIME(3)  NULL,
    -- What the coupon was redeemed for.
    ADD COLUMN order_id    VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    -- User ids have up to 128 characters.
    MODIFY COLUMN user_id VARCHAR(128) NOT NULL,
    MODIFY COLUMN active_user_id VARCHAR(128) GENERATED ALWAYS AS (IF(state = 'active', user_id, NULL)) STORED,
    ADD UNIQUE KEY coupons_one_per_code (code, campaign_id),
    ADD CONSTRAINT coupons_redeemed_if_active CHECK (redeemed_at IS NULL OR state = 'active'),
    ADD CONSTRAINT coupons_order_id_if_redeemed CHECK (order_id IS NULL OR redeemed_at IS NOT NULL);

ALTER TABLE campaign_log
    MODIFY COLUMN user_id VARCHAR(128) NULL;
