// A waitlist: winners and people on the waitlist ask what became of their application, as often as the answers allow
// (Retry-After; else about every POLL seconds), for SECONDS or until the answer is final.
//
//   cargo xtask load waiters
//   k6 run -e RUSHGATE_URL=http://127.0.0.1:3000 -e CAMPAIGN=launch -e QUOTA=20 -e WAITLIST=50 load/waiters.js
//
// Revoke a coupon meanwhile (rushgate revoke), and the head of the waitlist is promoted.

import { check, sleep } from "k6";
import exec from "k6/execution";
import { Counter } from "k6/metrics";
import { Applicant, pause } from "./lib/applicant.js";
import { checkBooks, common, requireOpenCampaign } from "./lib/books.js";
import { quota, whole } from "./lib/settings.js";
import { client, thresholds } from "./lib/tally.js";

const people = whole("PEOPLE", 200);
// The size of the waitlist: `--waitlist` of the campaign.
const waitlist = whole("WAITLIST", 100);
const seconds = whole("SECONDS", 30);
const poll = whole("POLL", 3);

const polls = new Counter("polls");
const joined = new Counter("applicants_waitlisted");
const promoted = new Counter("applicants_promoted");
const backwards = new Counter("positions_grown");

export const options = {
  ...common,
  scenarios: {
    waiters: {
      executor: "per-vu-iterations",
      vus: people,
      iterations: 1,
      maxDuration: "1h",
    },
  },
  thresholds: {
    ...thresholds(),
    // A promoted applicant wins the serial that another one has lost.
    winners: ["count>0"],
    granted: [`count==${Math.min(quota, people)}`],
    applicants_waitlisted: [`count==${Math.min(waitlist, Math.max(0, people - quota))}`],
    positions_grown: ["count==0"],
  },
};

export const setup = requireOpenCampaign;

export default client(() => {
  const applicant = new Applicant(exec.scenario.iterationInTest);
  let answer = applicant.applyUntilDecided();
  const until = Date.now() + seconds * 1000;
  if (answer?.decision === "waitlisted") joined.add(1);
  while (answer && isOpen(answer) && Date.now() < until) {
    sleep(pause(answer.retryAfter, poll));
    const before = answer;
    answer = applicant.ask();
    polls.add(1);
    if (before.decision === "waitlisted" && answer.serial !== 0) promoted.add(1);
    if (before.position !== 0 && answer.position > before.position) {
      backwards.add(1);
      console.error(`${applicant.userId} went back from position ${before.position} to ${answer.position}`);
    }
    // Without an answer, what the one before says is still the last news.
    if (answer.isLost || answer.isRejected) answer = { ...before, retryAfter: answer.retryAfter };
  }
});

export function teardown() {
  const positions = checkBooks(people)
    .map(({ position }) => position)
    .filter((position) => position !== 0)
    .sort((one, other) => one - other);
  check(positions, {
    "each position of the waitlist is held once": (all) => all.every((position, at) => position === at + 1),
  });
}

// A grant that is not issued yet, and a place on the waitlist, still change.
function isOpen({ decision }) {
  return ["granted", "already_granted", "waitlisted"].includes(decision);
}
