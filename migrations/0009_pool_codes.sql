-- Coupon codes that were made elsewhere: a campaign with `codes = 'pool'` gives them in the order in which they were loaded.

CREATE TABLE pool_codes (
    -- Without a foreign key: a million codes are loaded in one transaction, which would lock the campaign meanwhile.
    campaign_id VARCHAR(48)  NOT NULL,
    -- 1, 2, 3 … in the order of loading, through all rounds.
    number      INT UNSIGNED NOT NULL,
    -- As the winner is told it.
    code        VARCHAR(64)  NOT NULL,
    -- As it is recognised at the till: in upper case, without spaces and hyphens, with 0 for O, and 1 for I and L.
    canonical   VARCHAR(64)  NOT NULL,

    PRIMARY KEY (campaign_id, number),
    -- A till knows a code and no campaign.
    UNIQUE KEY pool_codes_one_per_code (canonical),
    CONSTRAINT pool_codes_number_from_1 CHECK (number >= 1)
) ENGINE = InnoDB DEFAULT CHARACTER SET ascii COLLATE ascii_bin;

ALTER TABLE coupons
    -- The number of the coupon's code in `pool_codes`, where the code may follow later. NULL: the campaign has no pool codes.
    ADD COLUMN code_number INT UNSIGNED NULL,
    -- Also of revoked coupons: a code that was told is not given again.
    ADD UNIQUE KEY coupons_one_per_code_number (campaign_id, code_number);
