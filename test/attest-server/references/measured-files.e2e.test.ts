import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { parseFiles, type Reference, reference } from '../../../attest-server/formats/reference.ts';
import { bankBytes, binaryFrame } from '../../../attest-server/wire/messages.ts';
import { aggregateEntry, measuredEntry } from '../../../swtpm-fixtures/ima-list.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { introduce } from '../attacker.ts';
import { runAssay } from '../cli/cli-fixture.ts';
import { forgedTpm } from '../forged-tpm.ts';
import { replayedValues } from '../policy/made-proof.ts';
import { startTestServer, type TestServer } from '../running-server.ts';
import { partOf } from '../verify/made-by-hand.ts';
import { madeQuote } from '../verify/made-quote.ts';

const log = recordedLog('debian13-sdboot-uki');
const policy = `apiVersion: assay.dev/v1
kind: Policy
groups:
  - name: workers
    nodes: ["*"]
    mode: observe
    require: [identity]
    runtime: {}
`;
const sha256 = (text: string) => hash('sha256', text);

describe('the files that a node measured, as references of a real server', () => {
  let dir: string;
  let world: TestServer;
  const tpm = forgedTpm();
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-measured-'));
    await writeFile(join(dir, 'policy.yaml'), policy);
    world = await startTestServer({ policy: join(dir, 'policy.yaml') });
    await world.pin('node-1', tpm.ekDigest);
    await answer('node-1', ['/usr/bin/tool', '/usr/bin/other', '/usr/local/bin/tool']);
  });
  after(async () => {
    await world?.[Symbol.asyncDispose]();
    await rm(dir, { recursive: true });
  });

  /** Connects and answers with a boot and a list that says each file, as an agent of 0.3.0 does. */
  async function answer(node: string, files: readonly string[]): Promise<void> {
    const values = Buffer.from(replayedValues(log, 'sha256'));
    const entries = [
      aggregateEntry('sha256', values),
      ...files.map((name) => measuredEntry({ digest: hash('sha256', name, 'buffer'), name })),
    ];
    const bytes = Buffer.concat(entries.map((entry) => entry.bytes));
    const length = bankBytes.sha256;
    let pcr = Buffer.alloc(length);
    for (const { digests } of entries) pcr = hash('sha256', Buffer.concat([pcr, digests.sha256]), 'buffer');
    pcr.copy(values, 10 * length);
    const peer = await introduce(world, tpm, node, { hello: { speaks: ['parts', 'codes', 'paths'] } });
    const challenge = await peer.challenge();
    for (const part of [log, bytes])
      if (!challenge.holds.includes(partOf(part).digest)) peer.send(binaryFrame('part', part));
    const occasion = { node, hello: peer.hello, channel: peer.channel, bootLog: log };
    const quote = (data: Buffer) => madeQuote(tpm.ak, data, { pcrs: { sha256: values } });
    peer.send(tpm.evidenceOfParts(challenge, occasion, { ima: bytes }, quote));
    await peer.verdict();
    await peer.close();
  }

  async function assay(...words: readonly string[]): Promise<string> {
    const { code, out, err } = await runAssay(words, {
      cwd: dir,
      env: world.env(),
    });
    assert.equal(code, 0, err);
    return out;
  }
  const pairs = ({ runtime }: Reference) =>
    [...parseFiles(runtime ?? assert.fail('it lists no files')).files()].map(({ path, digest }) => [
      path,
      digest.toString('hex'),
    ]);
  const atServer = async (name: string) =>
    reference.parse(JSON.parse(await assay('reference', 'export', name)));

  it('are all that it measured, but for the hash of its boot', async () => {
    await assay('reference', 'capture', 'node-1', '--kind', 'runtime', '--name', 'all');
    assert.deepEqual(
      pairs(await atServer('all')),
      ['/usr/bin/other', '/usr/bin/tool', '/usr/local/bin/tool'].map((path) => [path, sha256(path)]),
    );
  });

  it('are those alone that are named, by path or digest, and the audit log says which', async () => {
    const digest = sha256('/usr/bin/other');
    const only = ['--only', '/usr/local/bin/tool', '--only', `sha256:${digest}`];
    await assay('reference', 'capture', 'node-1', '--kind', 'runtime', ...only, '--name', 'some');
    assert.deepEqual(pairs(await atServer('some')), [
      ['/usr/bin/other', digest],
      ['/usr/local/bin/tool', sha256('/usr/local/bin/tool')],
    ]);
    const entry = (await world.audit()).find(({ subject }) => subject === 'some');
    assert.equal(entry?.detail.only, `/usr/local/bin/tool sha256:${digest}`);
  });

  it('are none where it measured no such file', async () => {
    const words = ['reference', 'capture', 'node-1', '--kind', 'runtime', '--only', '/usr/bin/absent'];
    await assert.rejects(assay(...words, '--name', 'absent'), /measured no file \/usr\/bin\/absent/);
  });

  it('are listed in a file from its evidence, without a reference at the server', async () => {
    const { evidenceDigest, verdict } = (await world.status('node-1')) ?? assert.fail();
    assert.equal(verdict?.state, 'trusted');
    for (const node of ['node-1', `node-1@${evidenceDigest?.slice(0, 12)}`]) {
      const words = ['reference', 'runtime', '--name', 'file', '--group', 'workers', '--from-node', node];
      await assay(...words, '-f', 'file.json');
      const made = reference.parse(JSON.parse(await readFile(join(dir, 'file.json'), 'utf8')));
      assert.deepEqual(pairs(made), pairs(await atServer('all')));
      assert.equal(made.captured, undefined);
    }
  });
});
