import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { createAppraiser, noPast } from '../../../../attest-server/policy/appraise.ts';
import {
  at,
  file,
  judged,
  knowing,
  measured,
  type Ran,
  RunningNode,
  runtimePolicy,
  violated,
} from './running-node.ts';

const known = knowing({ '/usr/bin/a': 'a', '/usr/bin/b': 'b' });
const expiring = {
  ...knowing({ '/opt/c': 'c' }, { name: 'old' }),
  expires: new Date(at + 1000).toISOString(),
};
const revoked = knowing({ '/opt/r': 'r' }, { name: 'bad', state: 'revoked' });
const references = [known, expiring, revoked];
const policy = runtimePolicy(
  'paths: report',
  'deny: ["/denied/*"]',
  'containers: {paths: ["/c/*"], references: [known]}',
);

const small = fc.integer({ min: 0, max: 40 });
const entry: fc.Arbitrary<Ran> = fc.oneof(
  fc.constantFrom('a', 'b', 'c', 'r').map((content) => file(`/usr/bin/${content}`, content)),
  small.map((number) => file(`/opt/${number}`)),
  small.map((number) => file(`/denied/${number}`)),
  small.map((number) => file(`/c/${number}`)),
  small.map((number) => violated(`/var/log/${number}`)),
  fc
    .tuple(fc.constantFrom('.ima', 'kexec-cmdline', 'dm_table_load'), small)
    .map(([name, data]) => measured(name, `${data}`)),
);

describe('the judgement of a list', () => {
  it('is the same however the list was cut', () =>
    fc.assert(
      fc.property(fc.array(fc.array(entry, { maxLength: 40 }), { minLength: 1, maxLength: 6 }), (parts) => {
        const node = new RunningNode();
        const appraiser = createAppraiser(policy, references);
        let last = null;
        for (const part of parts) {
          const proven = node.run(...part).answer('new');
          last = appraiser(proven, { name: 'one', past: noPast }, at).verdict;
        }
        const whole = judged(new RunningNode().run(...parts.flat()).answer(), references, policy);
        assert.deepEqual(
          last?.reasons.filter(({ aspect }) => aspect === 'runtime'),
          whole.reasons,
        );
        assert.equal(last?.state, whole.state);
      }),
      { numRuns: 40 },
    ));

  it('affirms nothing that no reference knows', () =>
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 60 }), small, (entries, place) => {
        const whole = entries.toSpliced(Math.min(place, entries.length), 0, file('/usr/bin/evil', 'evil'));
        const verdict = judged(new RunningNode().run(...whole).answer(), references, policy);
        assert.equal(verdict.state, 'untrusted');
      }),
      { numRuns: 40 },
    ));
});
