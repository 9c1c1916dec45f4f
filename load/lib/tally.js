// Counts answers, and says what must hold of the counts. The clients of k6 (VUs) share no memory, but their counters are
// summed.

import { Counter } from "k6/metrics";
import { quota } from "./settings.js";

const byDecision = {
  granted: new Counter("granted"),
  already_granted: new Counter("already_granted"),
  issued: new Counter("issued"),
  waitlisted: new Counter("waitlisted"),
  sold_out: new Counter("sold_out"),
  closed: new Counter("closed"),
  not_open: new Counter("not_open"),
  revoked: new Counter("revoked"),
};
const rejected = new Counter("rejected");
const lost = new Counter("lost_answers");
const unexplained = new Counter("unexplained_answers");
const withoutRetryAfter = new Counter("without_retry_after");
const winners = new Counter("winners");
const fingerprint = new Counter("serial_fingerprint");
const outOfQuota = new Counter("serials_out_of_quota");
const changed = new Counter("serials_changed");
const undecided = new Counter("undecided_applicants");
const broken = new Counter("broken_iterations");

/** Counts an answer about an application. */
export function noteAnswer(answer) {
  const { decision, isLost, isRejected, response, retryAfter, status } = answer;
  if (isLost) {
    lost.add(1);
  } else if (isRejected) {
    rejected.add(1);
  } else if (decision in byDecision) {
    // An answer to a question repeats a decision.
    if (response.request.method !== "GET") byDecision[decision].add(1);
  } else {
    unexplained.add(1);
    console.error(`unexplained answer: ${status} ${response.body}`);
  }
  if ((isRejected || status === 409) && retryAfter < 1) withoutRetryAfter.add(1);
}

/** Counts an applicant who was told a serial, once. */
export function noteWinner(serial) {
  winners.add(1);
  fingerprint.add(mixed(serial));
  if (serial > quota) outOfQuota.add(1);
}

/** Counts an applicant who was told one serial, and then another one. */
export function noteChange(userId, before, after) {
  changed.add(1);
  console.error(`${userId} was told serial ${before}, and then ${after}`);
}

/** Counts an applicant without a decision. */
export function noteUndecided(userId) {
  undecided.add(1);
  console.error(`${userId} got no decision`);
}

/** What a client does, as the default function of a script. k6 only logs an exception in it; this also counts it. */
export function client(run) {
  return async (data) => {
    try {
      await run(data);
    } catch (error) {
      broken.add(1);
      throw error;
    }
  };
}

/**
 * What must hold in every script. `due`: how many applicants must win; without it, at most the quota. With `due`, the
 * fingerprint proves that they were told the serials 1 to `due`, each of them once.
 */
export function thresholds(due) {
  const rules = {
    granted: [`count<=${due ?? quota}`],
    winners: [due === undefined ? `count<=${quota}` : `count==${due}`],
    serials_out_of_quota: ["count==0"],
    serials_changed: ["count==0"],
    unexplained_answers: ["count==0"],
    undecided_applicants: ["count==0"],
    without_retry_after: ["count==0"],
    broken_iterations: ["count==0"],
    checks: ["rate==1"],
  };
  if (due !== undefined) rules.serial_fingerprint = [`count==${expected(due)}`];
  if (__ENV.P99_MS) rules["http_req_duration{name:apply}"] = [`p(99)<${__ENV.P99_MS}`];
  return rules;
}

// The sum over the serials 1 to `due`. k6 reads thresholds when it loads the script for the first time, as VU 0.
function expected(due) {
  let sum = 0;
  if (__VU === 0) for (let serial = 1; serial <= due; serial++) sum += mixed(serial);
  return sum;
}

// A hash of 24 bits. Two different sets of serials have the same sum by chance only (1 in 16 million); the sum of
// 100,000,000 of them is still exact.
function mixed(serial) {
  let hash = Math.imul(serial ^ (serial >>> 16), 0x45d9f3b);
  hash = Math.imul(hash ^ (hash >>> 16), 0x45d9f3b);
  return (hash ^ (hash >>> 16)) >>> 8;
}
