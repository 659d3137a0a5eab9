import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { z } from 'zod';
import { listOf, nodeView } from '../../attest-server/protocol/api.ts';
import { existingSite } from './machines.ts';
import { openSite, type Site } from './site.ts';

/** What the chart installs where nobody says otherwise. */
const chartPolicy = `apiVersion: assay.dev/v1
kind: Policy
groups:
  - name: all
    nodes: ["*"]
    mode: observe
    enrolment: [vendor, first-use]
    require: [identity]
`;

describe('a site of 60 machines that was there before', function () {
  this.timeout(120_000);
  const machines = existingSite();
  const withTpm = machines.filter(({ tpm }) => tpm !== 'none');
  let site: Site;
  before(async () => {
    assert.equal(machines.length, 60);
    site = await openSite(machines, chartPolicy);
  });
  after(() => site?.[Symbol.asyncDispose]());

  async function nodes() {
    const { out, code, err } = await site.assay(['get', 'nodes', '-o', 'json']);
    assert.equal(code, 0, err);
    return z.object({ items: z.array(nodeView) }).parse(JSON.parse(out)).items;
  }

  it('is trusted, each machine that has a TPM, with no hand laid on any', async () => {
    const began = performance.now();
    await site.arrive();
    for (const [name, { told }] of site.agents) if (!told[0]?.startsWith('trusted')) console.log(name, told);
    const shown = await nodes();
    assert.deepEqual(
      shown
        .map(({ name, state, reasons }) =>
          [
            name,
            state,
            ...reasons.filter(({ severity }) => severity === 'fail').map(({ code }) => code),
          ].join(' '),
        )
        .sort(),
      withTpm.map(({ name }) => `${name} trusted`).sort(),
    );
    console.log(
      performance.now() - began,
      shown
        .map(({ name, reasons, bound, tpmClass, require }) =>
          [
            name,
            bound,
            tpmClass,
            require,
            ...reasons.map(({ code, severity }) => code + ' ' + severity),
          ].join(' '),
        )
        .join('\n'),
    );
    console.log((await site.assay(['policy', 'suggest'])).out);
    console.log((await site.assay(['get', 'nodes', '-o', 'wide'])).out);
  });
});
void listOf;
