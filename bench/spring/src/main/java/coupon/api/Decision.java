package coupon.api;

public enum Decision {
    GRANTED,
    ALREADY_APPLIED,
    SOLD_OUT
}
