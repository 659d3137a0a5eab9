import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { ClusterError } from '../../../attest-server/marking/ports.ts';
import { today } from './made-marking.ts';
import { MarkedCluster } from './marked-cluster.ts';

const second = 1000;
const minute = 60 * second;
const nodes = ['node-1', 'node-2', 'node-3', 'node-4', 'node-5'];
const verdicts = [
  { state: 'trusted' },
  { state: 'untrusted', codes: ['counter_rollback'] },
  { state: 'unknown', codes: ['evidence_overdue'] },
] as const;
/**
 * What the API does with resources and Events; `whole`: it takes the state alone, as by an older definition; `unanswered`: it
 * does what it is asked, and nobody hears of it; `marks`: it takes no mark.
 */
const weathers = [
  'well',
  'refuses',
  'away',
  'too_many',
  'one',
  'sometimes',
  'whole',
  'unanswered',
  'marks',
] as const;
const reasons = ['invalid', 'failed', 'forbidden', 'unreachable', 'not_found'] as const;

const step = fc.record({
  what: fc.constantFrom('verdict', 'revoke', 'delete', 'create', 'weather', 'lease', 'restart'),
  node: fc.constantFrom(...nodes),
  verdict: fc.constantFrom(...verdicts),
  weather: fc.constantFrom(...weathers),
  seconds: fc.integer({ min: 1, max: 20 }),
});

describe('what is published of nodes, whatever happens', function () {
  this.timeout(60_000);

  it('is what the server says, of each Node that is there and of no other, once the API takes it again', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 100 }), async (steps) => {
        const marked = new MarkedCluster({ nodes: nodes.length });
        const { cluster } = marked;
        await marked.settle();
        let weather: (typeof weathers)[number] = 'well';
        let asked = 0;
        cluster.before = (request, name) => {
          if (request.startsWith('patch') && weather === 'marks') throw new ClusterError('invalid', 'no');
          if (request.startsWith('patch') || request === 'get') return;
          asked += 1;
          if (weather === 'refuses') throw new ClusterError('failed', 'no');
          if (weather === 'away') throw new ClusterError('unreachable', 'no');
          if (weather === 'too_many') throw new ClusterError('too_many', 'no', second);
          if (weather === 'one' && name === nodes[0]) throw new ClusterError('invalid', 'no');
          const reason = reasons[asked % (2 * reasons.length)];
          if (weather === 'sometimes' && reason !== undefined) throw new ClusterError(reason, 'no');
        };
        const { applyAttestation } = cluster;
        cluster.applyAttestation = async (node, status) => {
          if (weather === 'whole' && 'marks' in status)
            throw new ClusterError('failed', 'field not declared in schema');
          await applyAttestation.call(cluster, node, status);
          if (weather === 'unanswered') throw new ClusterError('unreachable', 'no answer in time');
        };
        const lead = (isLeader: boolean) => {
          marked.isLeader = isLeader;
          if (isLeader) marked.reconciler.tookOver();
        };
        for (const { what, node, verdict, weather: next, seconds } of steps) {
          if (what === 'verdict') marked.commit(node, verdict);
          else if (what === 'delete') cluster.delete(node);
          else if (what === 'create' && cluster.get(node) === null)
            cluster.create(node, { createdAt: today + marked.at });
          else if (what === 'weather') weather = next;
          else if (what === 'lease') lead(!marked.isLeader);
          else if (what === 'restart') await marked.restart();
          else if (what === 'revoke') {
            marked.statuses.delete(node);
            marked.reconciler.queue.add(node);
          }
          await marked.pass(seconds * second);
        }
        weather = 'well';
        if (!marked.isLeader) lead(true);
        await marked.pass(20 * minute);
        for (const node of nodes) {
          const shown = marked.reconciler.shown(node);
          assert.equal(cluster.attested.get(node)?.state, shown?.judged.state, node);
          assert.equal(shown?.resource ?? null, null, node);
        }
        assert.equal(marked.reconciler.publication.countWrong().size, 0);
        assert.deepEqual(marked.faults, []);
        await marked.reconciler.close();
      }),
      { numRuns: 60 },
    );
  });
});
