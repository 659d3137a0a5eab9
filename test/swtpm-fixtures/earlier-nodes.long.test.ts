import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { describe, it } from 'mocha';
import { auditLine } from '../../attest-server/api/audit-pages.ts';
import { type Cluster, openCluster } from '../../swtpm-fixtures/cluster/cluster.ts';
import { createNarrator } from '../../swtpm-fixtures/cluster/narrator.ts';
import { vouch } from '../../swtpm-fixtures/cluster/story.ts';
import { programs } from '../programs.ts';

/** The stories of the three runs are told elsewhere: here they begin, and the node that is left out and comes back is judged. */
describe('npm start in a folder of before', function () {
  this.timeout(300_000);

  it('revokes the nodes that an earlier run had and this one has not, says so, and lets them come back', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'assay-earlier-'));
    try {
      {
        await using first = await open(dir, 2);
        await startAgents(first.cluster);
        await trust({ ...first.cluster, nodes: first.cluster.nodes.slice(1) });
        assert.deepEqual(await first.cluster.operator.nodes(), ['node-1', 'node-2']);
      }
      {
        await using second = await open(dir, 1);
        assert.match(second.said(), /revokes the enrolment of node-2: /);
        const { operator } = second.cluster;
        assert.deepEqual(await operator.nodes(), ['node-1']);
        const log = join(dir, 'audit.jsonl');
        await operator.assay('audit', 'export', log);
        const lines = (await readFile(log, 'utf8')).trimEnd().split('\n');
        const revoked = lines
          .map((line) => auditLine.parse(JSON.parse(line)))
          .flatMap((line) => ('entry' in line && line.entry.action === 'enrol.revoke' ? [line.entry] : []));
        assert.deepEqual(
          revoked.map(({ actor, subject, detail }) => [actor, subject, detail.reason]),
          [['token:admin', 'node-2', 'npm start runs with 1 node now']],
        );
      }
      await using third = await open(dir, 2);
      assert.doesNotMatch(third.said(), /revokes the enrolment/);
      const back = { ...third.cluster, nodes: third.cluster.nodes.slice(1) };
      await startAgents(back);
      await trust(back);
      assert.match(third.said(), /node-2 is TRUSTED/);
    } finally {
      await rm(dir, { recursive: true, force: true });
    }
  });
});

/** As `npm start -- --nodes COUNT` opens it. */
async function open(dir: string, nodes: number) {
  let said = '';
  const out = new Writable({
    write(chunk, _encoding, done) {
      said += String(chunk);
      done();
    },
  });
  const cluster = await openCluster({
    dir,
    nodes,
    challengeEvery: 5_000,
    unknownAfter: 60_000,
    // Of machines that measure nothing of what they run.
    recordings: ['centos9-shim-grub', 'debian10-shim-grub'],
    logLevel: 'silent',
    ports: 'free',
    narrator: createNarrator('text', out),
    signal: new AbortController().signal,
    programs,
  });
  return { cluster, said: () => said, [Symbol.asyncDispose]: () => cluster[Symbol.asyncDispose]() };
}

async function startAgents({ nodes, operator }: Cluster): Promise<void> {
  await operator.importKeys(nodes.map(({ name, ekDigest }) => ({ node: name, ekDigest })));
  await Promise.all(nodes.map((node) => node.startAgent()));
}

/** Vouches for what these booted, and waits until they are trusted. */
async function trust(cluster: Cluster): Promise<void> {
  await vouch(cluster, createNarrator('json', { write: () => true }));
  for (const { name } of cluster.nodes)
    assert(await cluster.reaches(name, 'trusted', null, 60_000), JSON.stringify(cluster.state(name)));
}
