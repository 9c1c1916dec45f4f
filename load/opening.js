// An opening: people press reload and try to apply too early; when the campaign opens, all of them apply at once.
//
//   cargo xtask load opening
//   k6 run -e RUSHGATE_URL=http://127.0.0.1:3000 -e CAMPAIGN=launch -e QUOTA=100 load/opening.js
//
// The campaign must open after the start of the test, and within the time OPENS_WITHIN.

import { sleep } from "k6";
import exec from "k6/execution";
import { Counter } from "k6/metrics";
import { read, time } from "./lib/api.js";
import { Applicant } from "./lib/applicant.js";
import { checkBooks, common, requireOpening } from "./lib/books.js";
import { quota, whole } from "./lib/settings.js";
import { client, thresholds } from "./lib/tally.js";

const people = whole("PEOPLE", 300);
const due = Math.min(quota, people);
const opensWithin = whole("OPENS_WITHIN", 600);
// On average, each person presses reload this often, in s.
const reload = whole("RELOAD", 1);
// A refusal may be on its way for this long when the campaign opens, in ms.
const grace = 1000;

const grantedEarly = new Counter("granted_early");
const refusedLate = new Counter("refused_late");

export const options = {
  ...common,
  scenarios: {
    opening: {
      executor: "per-vu-iterations",
      vus: people,
      iterations: 1,
      maxDuration: `${opensWithin + 600}s`,
    },
  },
  thresholds: { ...thresholds(due), granted_early: ["count==0"], refused_late: ["count==0"], not_open: ["count>0"] },
};

export function setup() {
  return { opensAt: requireOpening(opensWithin) };
}

export default client(({ opensAt }) => {
  const applicant = new Applicant(exec.scenario.iterationInTest);
  // The first click is too early, and then each fourth.
  for (let click = 0; ; click++) {
    const isOpen = click % 4 === 0 ? apply(applicant, opensAt) !== "not_open" : time(read()) >= opensAt;
    if (isOpen) break;
    sleep(reload * (0.5 + Math.random()));
  }
  while (apply(applicant, opensAt) === "not_open") sleep(0.1);
});

export function teardown() {
  checkBooks(people, due);
}

// Applies until there is a decision, and checks it against the clock of Redis.
function apply(applicant, opensAt) {
  const answer = applicant.applyUntilDecided();
  if (!answer) return "";
  if (answer.serial !== 0 && Date.parse(answer.response.json("granted_at")) < opensAt) grantedEarly.add(1);
  if (answer.decision === "not_open" && time(answer.response) > opensAt + grace) refusedLate.add(1);
  return answer.decision;
}
