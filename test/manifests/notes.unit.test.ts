import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import type { JsonObject } from '../../swtpm-fixtures/api-server/json.ts';
import { chartFolder, helm, needsTools, renderChart } from './kubernetes-tools.ts';

const group = (name: string, more: JsonObject) => ({
  name,
  nodes: [`${name}-*`],
  enrolment: ['pin'],
  require: ['identity', 'boot'],
  ...more,
});
const policy = (...groups: readonly JsonObject[]) => ({
  policy: { apiVersion: 'assay.dev/v1', kind: 'Policy', groups: [...groups] },
});

/** What `helm install` prints at its end. */
function notesOf(values: JsonObject): Promise<string> {
  const key = JSON.stringify(values);
  const notes = printed.get(key) ?? print(values);
  printed.set(key, notes);
  return notes;
}
const printed = new Map<string, Promise<string>>();

async function print(values: JsonObject): Promise<string> {
  const own = await mkdtemp(join(tmpdir(), 'assay-notes-'));
  try {
    const file = join(own, 'values.yaml');
    await writeFile(file, JSON.stringify(values));
    const text = await helm('install', 'assay', chartFolder, '--dry-run=client', '--values', file);
    return text.split(/^NOTES:$/m)[1] ?? assert.fail(text);
  } finally {
    await rm(own, { recursive: true });
  }
}

describe('what is printed after an installation', function () {
  this.timeout(60_000);

  it('ends with the one next command', async function () {
    needsTools(this);
    const next = async (values: JsonObject) => / -- (assay .*)\n*$/.exec(await notesOf(values))?.[1];
    assert.equal(await next({}), 'assay get nodes');
    assert.equal(await next(policy(group('a', { mode: 'label' }))), 'assay get nodes --state untrusted');
    // The latch is refused where it would cover a group that observes, so the others are named.
    const groups = [
      group('a', { mode: 'enforce' }),
      group('gpu', { mode: 'enforce', tpm: 'absent' }),
      group('b', { mode: 'enforce' }),
      group('rest', {}),
    ];
    assert.equal(await next(policy(...groups)), 'assay trust enable --dry-run --group a --group b');
  });

  it('says what admission does', async function () {
    needsTools(this);
    const said = async (values: JsonObject) => /^ {2}admission (\w+)/m.exec(await notesOf(values))?.[1];
    assert.equal(await said({}), 'warns');
    assert.equal(await said({ admission: { action: 'Audit' } }), 'notes');
    assert.equal(await said({ admission: { enabled: false } }), 'off');
    assert.equal(await said(policy(group('a', { mode: 'label' }))), 'denies');
  });

  it('warns that a trial proves nothing', async function () {
    needsTools(this);
    assert.match(await notesOf({ trial: { enabled: true } }), /^TRIAL: /m);
    assert.doesNotMatch(await notesOf({}), /TRIAL/);
  });

  it('names the Secrets that a private registry wants in namespaces which the chart makes', async function () {
    needsTools(this);
    const image = { pullSecrets: [{ name: 'registry' }] };
    assert.match(await notesOf({ image }), /image\.pullSecrets/);
    assert.doesNotMatch(await notesOf({ image, namespaces: { create: false } }), /image\.pullSecrets/);
  });
});

// It would run in the namespace of the release, where nobody was told to make that Secret, and stop the installation.
describe('the look at settings before a first installation', function () {
  this.timeout(60_000);

  it('is left out where its image is fetched by a Secret of a namespace that is not there yet', async function () {
    needsTools(this);
    const checks = async (values: JsonObject) =>
      (await renderChart({ values, args: ['--namespace', 'default'] })).filter(({ metadata }) =>
        JSON.stringify(metadata).includes('"assay-check"'),
      ).length;
    const image = { pullSecrets: [{ name: 'registry' }] };
    assert.equal(await checks({}), 2);
    assert.equal(await checks({ image }), 0);
    assert.equal(await checks({ image, namespaces: { create: false } }), 2);
  });
});
