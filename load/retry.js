// Lost answers: clients click twice at the same moment, give up before the answer comes, or never read it. Then they
// apply again with the same user id, and must be told the same serial.
//
//   cargo xtask load retry
//   k6 run -e RUSHGATE_URL=http://127.0.0.1:3000 -e CAMPAIGN=launch -e QUOTA=100 load/retry.js

import exec from "k6/execution";
import { Counter } from "k6/metrics";
import { apply } from "./lib/api.js";
import { Applicant } from "./lib/applicant.js";
import { checkBooks, common, requireOpenCampaign } from "./lib/books.js";
import { quota, whole } from "./lib/settings.js";
import { client, thresholds } from "./lib/tally.js";

const applicants = whole("APPLICANTS", 1000);
const due = Math.min(quota, applicants);
// Clients that give up do so after 1 to this many ms.
const giveUp = whole("GIVE_UP_MS", 10);

// Winners whose first answer was lost: the gate had granted already when they applied again.
const recovered = new Counter("wins_recovered");

export const options = {
  ...common,
  scenarios: {
    retry: {
      executor: "shared-iterations",
      vus: Math.min(whole("CONCURRENCY", 50), applicants),
      iterations: applicants,
      maxDuration: "1h",
    },
  },
  thresholds: { ...thresholds(due), wins_recovered: ["count>0"] },
};

export const setup = requireOpenCampaign;

export default client(() => {
  const number = exec.scenario.iterationInTest;
  const applicant = new Applicant(number);
  [clickTwice, giveUpTwice, neverRead][number % 3](applicant);
  const isNews = applicant.serial === 0;
  const answer = applicant.applyUntilDecided();
  if (isNews && answer?.decision === "already_granted") recovered.add(1);
});

export function teardown() {
  checkBooks(applicants, due);
}

function clickTwice(applicant) {
  applicant.applyAtOnce(2);
}

function giveUpTwice(applicant) {
  for (let attempt = 0; attempt < 2; attempt++) {
    applicant.apply({ timeout: `${1 + Math.floor(Math.random() * giveUp)}ms` });
  }
}

function neverRead(applicant) {
  apply(applicant.userId);
}
