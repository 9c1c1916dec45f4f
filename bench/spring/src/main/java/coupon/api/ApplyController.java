package coupon.api;

import com.fasterxml.jackson.annotation.JsonProperty;
import org.springframework.http.HttpStatus;
import org.springframework.http.ResponseEntity;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PathVariable;
import org.springframework.web.bind.annotation.PostMapping;
import org.springframework.web.bind.annotation.RequestBody;
import org.springframework.web.bind.annotation.RestController;

/** The course has no controller. This one takes the requests of the other ways, and answers with their statuses. */
@RestController
public class ApplyController {
    record Application(@JsonProperty("user_id") Long userId) {}

    private final ApplyService applyService;

    public ApplyController(ApplyService applyService) {
        this.applyService = applyService;
    }

    @PostMapping("/v1/campaigns/{campaign}/applications")
    public ResponseEntity<Void> apply(
            @PathVariable String campaign, @RequestBody Application application) {
        HttpStatus status = switch (applyService.apply(campaign, application.userId())) {
            case GRANTED -> HttpStatus.CREATED;
            case ALREADY_APPLIED -> HttpStatus.CONFLICT;
            case SOLD_OUT -> HttpStatus.GONE;
        };
        return ResponseEntity.status(status).build();
    }

    @GetMapping("/readyz")
    public String ready() {
        return "ready";
    }
}
