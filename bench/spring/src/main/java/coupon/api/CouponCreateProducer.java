package coupon.api;

import org.springframework.beans.factory.annotation.Value;
import org.springframework.kafka.core.KafkaTemplate;
import org.springframework.stereotype.Component;

@Component
public class CouponCreateProducer {
    private final KafkaTemplate<String, Long> kafkaTemplate;
    private final String topic;

    public CouponCreateProducer(
            KafkaTemplate<String, Long> kafkaTemplate, @Value("${KAFKA_TOPIC}") String topic) {
        this.kafkaTemplate = kafkaTemplate;
        this.topic = topic;
    }

    public void create(Long userId) {
        kafkaTemplate.send(topic, userId);
    }
}
