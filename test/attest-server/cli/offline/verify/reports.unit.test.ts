import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { junit } from '../../../../../attest-server/cli/offline/verify/junit.ts';
import { sarif } from '../../../../../attest-server/cli/offline/verify/sarif.ts';
import type { JudgedBundle } from '../../../../../attest-server/cli/offline/verify/verify.ts';
import { reasonOf } from '../../../http/api-fixture.ts';

const hostile = reasonOf('kernel_unknown');
const judged: JudgedBundle = {
  rejected: false,
  isBundle: true,
  verdict: {
    state: 'untrusted',
    earStatus: 'contraindicated',
    reasons: [
      {
        ...hostile,
        aspect: 'boot',
        severity: 'fail',
        text: 'The kernel <has> "changed" & more]]>\n\u0000\u001b[31m',
      },
      { ...reasonOf('kexec_possible'), aspect: 'boot', severity: 'warn', text: 'kexec is possible' },
    ],
    aspects: {
      identity: { status: 'affirming', source: 'tpm' },
      boot: { status: 'contraindicated', source: 'tpm' },
      disk: { status: 'none', source: 'host' },
    },
    boot: null,
  },
};
const refused: JudgedBundle = {
  rejected: true,
  isBundle: true,
  verdict: {
    state: 'unknown',
    earStatus: 'none',
    reasons: [reasonOf('sig_invalid')],
    aspects: {},
    boot: null,
  },
};
const trusted: JudgedBundle = {
  rejected: false,
  isBundle: true,
  verdict: {
    ...judged.verdict,
    state: 'trusted',
    reasons: [],
    aspects: { boot: { status: 'affirming', source: 'tpm' } },
  },
};

/** Start tags, end tags and what lies between must nest; nothing else may hold a bracket. */
function checkNesting(text: string): void {
  const open: string[] = [];
  const rest = text
    .replace(/^<\?xml [^<>]*\?>/, '')
    .replace(
      /<(\/?)([a-z-]+)((?: [a-z]+="[^"<>&]*(?:&#\d+;[^"<>&]*)*")*)(\/?)>/g,
      (_all, end, name, _rest, empty) => {
        if (end === '/') assert.equal(open.pop(), name);
        else if (empty === '') open.push(name);
        return '';
      },
    );
  assert.deepEqual([open, /[<>]|&(?!#\d+;)/.test(rest)], [[], false]);
}

describe('a verdict for continuous integration', () => {
  it('is JUnit: a case an aspect, a failure where the policy is broken, skipped where nothing was judged', () => {
    const text = junit('a "b" <c>.json', judged);
    checkNesting(text);
    assert.match(text, /tests="5" failures="2" errors="0" skipped="1"/);
    assert.match(text, /<testcase classname="assay.verify" name="identity"\/>/);
    assert.match(text, /<failure type="kernel_unknown" message="The kernel &#60;has&#62; /);
    assert.match(text, /<system-out>kexec_possible: /);
  });

  it('is an error in JUnit where the evidence is rejected', () => {
    const text = junit('bundle.json', refused);
    checkNesting(text);
    assert.match(text, /tests="1" failures="0" errors="1" skipped="0"/);
    assert.match(text, /<error type="sig_invalid" /);
  });

  it('has no failure in JUnit for a node that is trusted', () => {
    assert.match(junit('bundle.json', trusted), /tests="3" failures="0" errors="0" skipped="0"/);
  });

  it('is SARIF: a result a reason with its level, and the state', () => {
    const text = JSON.parse(JSON.stringify(sarif('bundle of node-1.json', judged, '1.2.3')));
    const [run] = text.runs;
    assert.deepEqual(
      run.results.map(({ ruleId, level }: { ruleId: string; level: string }) => [ruleId, level]),
      [
        ['kernel_unknown', 'error'],
        ['kexec_possible', 'warning'],
      ],
    );
    assert.deepEqual(
      run.tool.driver.rules.map(({ id }: { id: string }) => id),
      ['kernel_unknown', 'kexec_possible'],
    );
    assert.deepEqual(run.properties, { state: 'untrusted', earStatus: 'contraindicated', rejected: false });
    assert.equal(run.artifacts[0].location.uri, 'bundle%20of%20node-1.json');
  });
});
