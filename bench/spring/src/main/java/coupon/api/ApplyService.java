package coupon.api;

import org.springframework.beans.factory.annotation.Value;
import org.springframework.stereotype.Service;

@Service
public class ApplyService {
    private final AppliedUserRepository appliedUserRepository;
    private final CouponCountRepository couponCountRepository;
    private final CouponCreateProducer couponCreateProducer;
    private final long quota;

    public ApplyService(
            AppliedUserRepository appliedUserRepository,
            CouponCountRepository couponCountRepository,
            CouponCreateProducer couponCreateProducer,
            @Value("${QUOTA}") long quota) {
        this.appliedUserRepository = appliedUserRepository;
        this.couponCountRepository = couponCountRepository;
        this.couponCreateProducer = couponCreateProducer;
        this.quota = quota;
    }

    public Decision apply(String campaign, Long userId) {
        if (appliedUserRepository.add(campaign, userId) != 1) {
            return Decision.ALREADY_APPLIED;
        }
        if (couponCountRepository.increment(campaign) > quota) {
            return Decision.SOLD_OUT;
        }
        couponCreateProducer.create(userId);
        return Decision.GRANTED;
    }
}
