import { hash } from 'node:crypto';
import { join } from 'node:path';
import type { NodePast } from '../../attest-server/policy/appraise.ts';
import { madeProof } from '../attest-server/policy/made-proof.ts';
import { partOf, provenByHand } from '../attest-server/verify/made-by-hand.ts';

/** Judged by the product in this folder, which has the aspect `programs`: a node whose programs changed hides them. */
const [copy = ''] = process.argv.slice(2);
const load = (file: string) => import(join(copy, 'attest-server', file));
const { createAppraiser, noPast }: typeof import('../../attest-server/policy/appraise.ts') =
  await load('policy/appraise.ts');
const { parsePolicy }: typeof import('../../attest-server/policy/file/policy-file.ts') = await load(
  'policy/file/policy-file.ts',
);
const { DigestList }: typeof import('../../attest-server/formats/digest-list.ts') =
  await load('formats/digest-list.ts');

const policy = parsePolicy(
  [
    'apiVersion: assay.dev/v1\nkind: Policy\ngroups:',
    '  - name: all\n    nodes: ["*"]\n    require: [identity, programs]\n    programs: {baseline: required}\n',
  ].join('\n'),
  'made.yaml',
);
const good = Buffer.from('/usr/bin/a\n');
const files = DigestList.of([{ digest: hash('sha256', good, 'buffer'), path: '/list', package: null }]);
const programs = { files: files.toBytes().toString('base64'), count: 1 };
const reference = { kind: 'programs', name: 'known', group: 'all', state: 'active', expires: null, programs };
const proof = madeProof({});
const facts = { purpose: 'attest', node: 'one', bootId: '0'.repeat(36), helloDigest: '0'.repeat(64) };
const answer = (list: Buffer | null, unavailable = {}) =>
  // Words that the contract of this tree does not know.
  provenByHand(proof, {
    facts: { ...facts, unavailable },
    parts: list === null ? {} : { programs: partOf(list) },
  } as object);
const answers = {
  changed: answer(Buffer.from('/usr/bin/evil\n')),
  'left out in silence': answer(null),
  'said to be unreadable': answer(null, { programs: 'EACCES' }),
  'facts unavailable': answer(Buffer.alloc(0)),
  again: answer(null),
  good: answer(good),
};
const appraise = createAppraiser(policy, [reference] as never);
let memory: NodePast['memory'] = {};
for (const [what, proven] of Object.entries(answers)) {
  const past = { ...noPast, sentParts: ['programs'] as never, memory };
  const { verdict, next } = appraise(proven, { name: 'one', past }, 0);
  memory = JSON.parse(JSON.stringify(next.memory));
  process.stdout.write(`${what}: ${verdict.state}\n`);
}
