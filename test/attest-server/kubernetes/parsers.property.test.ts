import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { z } from 'zod';
import { linesOf } from '../../../attest-server/kubernetes/lines.ts';
import { parseNode } from '../../../attest-server/kubernetes/node.ts';
import { errorOf, printable } from '../../../attest-server/kubernetes/status.ts';
import { trials } from '../../trials.ts';

const good = {
  metadata: {
    name: 'n1',
    uid: 'u',
    resourceVersion: '1',
    labels: { a: 'b' },
    creationTimestamp: '2026-11-20T12:00:00Z',
  },
  spec: { taints: [{ key: 'a', effect: 'NoSchedule' }], providerID: 'x://1' },
  status: { conditions: [{ type: 'Ready', status: 'True', lastHeartbeatTime: null }], nodeInfo: {} },
};

describe('what the API of a cluster sends', () => {
  it('is lines, however they are cut on the way', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.json(), { maxLength: 8 }),
        fc.array(fc.nat(64), { maxLength: 16 }),
        async (objects, cuts) => {
          const bytes = Buffer.from(objects.map((line) => `${line}\n`).join(''));
          const ends = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].toSorted((a, b) => a - b);
          const chunks = [0, ...ends].map((from, index) => bytes.subarray(from, ends[index] ?? bytes.length));
          assert.deepEqual(await Array.fromAsync(linesOf(fromChunks(chunks))), objects);
        },
      ),
    );
  });

  it('is refused as a line that never ends', async () => {
    const chunk = Buffer.alloc(1024 * 1024, 0x61);
    await assert.rejects(
      Array.fromAsync(linesOf(fromChunks(Array.from({ length: 17 }, () => chunk)))),
      /bytes/,
    );
  });

  it('is a Node whatever its kubelet writes into it: one that nobody reads would be marked no more', () => {
    const long = 'x'.repeat(10_000);
    const odd = {
      ...good,
      spec: {
        taints: Array.from({ length: 1500 }, (_, i) => ({ key: `k${i}`, effect: 'PreferNoSchedule' })),
        providerID: long,
      },
      status: {
        conditions: [
          ...Array.from({ length: 1500 }, (_, i) => ({
            type: `T${i}`,
            status: long,
            reason: long,
            message: long,
          })),
          { type: null, reason: null, lastTransitionTime: long },
          { type: 'assay.dev/Trusted', status: 'True', reason: long },
        ],
        nodeInfo: { systemUUID: long },
      },
    };
    const node = parseNode(odd);
    assert.equal(node.taints.length, 1500);
    assert.equal(
      node.conditions.findIndex(({ type }) => type === 'assay.dev/Trusted'),
      1501,
    );
    assert.ok(node.conditions.every(({ status }) => status.length <= 4096));
    assert.equal(node.systemUuid?.length, 4096);
  });

  it('is a Node, or none: any value gives one or a ZodError', () => {
    assert.deepEqual(parseNode(good), {
      name: 'n1',
      uid: 'u',
      resourceVersion: '1',
      labels: { a: 'b' },
      taints: [{ key: 'a', effect: 'NoSchedule' }],
      conditions: [{ type: 'Ready', status: 'True' }],
      providerId: 'x://1',
      systemUuid: null,
      createdAt: Date.parse('2026-11-20T12:00:00Z'),
    });
    const anything = fc.oneof(fc.jsonValue(), changed(good));
    fc.assert(
      fc.property(anything, (value) => {
        try {
          const { name, taints } = parseNode(value);
          assert.ok(typeof name === 'string' && Array.isArray(taints));
        } catch (error) {
          assert.ok(error instanceof z.ZodError);
        }
      }),
      { numRuns: trials(50) },
    );
  });

  it('is an error with a reason and a printable, bounded text, whatever it says', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 300, max: 599 }),
        fc.oneof(fc.jsonValue(), fc.record({ message: fc.string(), details: fc.jsonValue() })),
        fc.oneof(fc.constant(undefined), fc.string()),
        (code, body, retryAfter) => {
          const error = errorOf({ code, body, retryAfter, what: 'get nodes n1', tests: false });
          assert.match(error.message, /^get nodes n1: [\x20-\x7e]{1,400}$/);
          assert.ok(error.retryAfter === null || (error.retryAfter > 0 && error.retryAfter <= 600_000));
        },
      ),
    );
    assert.equal(printable('a\u001b[31mb\n'), 'a?[31mb?');
  });

  it('is an error that says whether somebody else was quicker, a rule is broken, or one should wait', () => {
    const reason = (code: number, tests: boolean, body: unknown = {}, retryAfter?: string) => {
      const { reason: is, retryAfter: wait } = errorOf({ code, body, retryAfter, what: 'x', tests });
      return wait === null ? is : `${is} ${wait}`;
    };
    assert.deepEqual(
      [
        reason(409, false),
        reason(422, true),
        reason(422, true, { details: { causes: [{ field: 'spec.taints' }] } }),
        reason(422, false),
        reason(401, false),
        reason(403, false),
        reason(404, false),
        reason(410, false),
        reason(429, false, {}, '3'),
        reason(500, false, { details: { retryAfterSeconds: 2 } }),
        reason(503, false, {}, '86400'),
        reason(504, false),
        reason(400, false),
        reason(302, false),
      ],
      [
        ...['conflict', 'conflict', 'invalid', 'invalid', 'forbidden', 'forbidden', 'not_found', 'gone'],
        ...['too_many 3000', 'failed 2000', 'failed 600000', 'unreachable', 'invalid', 'failed'],
      ],
    );
  });
});

async function* fromChunks(chunks: readonly Buffer[]): AsyncGenerator<Buffer> {
  yield* chunks;
}

/** The value with one of its leaves, or one of its branches, exchanged. */
function changed(value: object): fc.Arbitrary<unknown> {
  const paths = pathsOf(value);
  return fc.tuple(fc.constantFrom(...paths), fc.jsonValue()).map(([path, other]) => {
    const copy = structuredClone(value);
    let at: unknown = copy;
    for (const key of path.slice(0, -1)) at = Reflect.get(Object(at), key);
    Reflect.set(Object(at), path.at(-1) ?? '', other);
    return copy;
  });
}

function pathsOf(value: unknown, path: readonly string[] = []): readonly string[][] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => [[...path, key], ...pathsOf(inner, [...path, key])]);
}
