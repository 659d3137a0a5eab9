import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { describe, it } from 'mocha';
import { atOnce } from '../../../attest-server/formats/in-steps.ts';
import { contentFaultInSteps, parseFiles, type Reference } from '../../../attest-server/formats/reference.ts';
import { withFilesInSteps } from '../../../attest-server/policy/reference-files.ts';
import { sharedWithInSteps } from '../../../attest-server/policy/reference-reach.ts';
import { filesReference } from './made-files.ts';
import { policyOf } from './made-proof.ts';

const policies = [{ digest: 'ab'.repeat(32), covers: ['exec' as const], description: 'policy' }];
const keyrings = [{ keyring: '.ima', digest: 'cd'.repeat(32), description: 'key' }];

describe('a reference of some files alone', () => {
  const whole = filesReference('all', ['/a', '/b', '/b=other', '/c=same', '/d=same'], {
    more: { policies, keyrings },
  });
  const table: readonly (readonly [string, readonly string[], readonly string[]])[] = [
    ['a path', ['/a'], ['/a']],
    ['a path with two contents', ['/b'], ['/b', '/b']],
    ['a digest, which is at two paths', [hash('sha256', 'same')], ['/c', '/d']],
    ['a digest as the kernel writes it', [`sha256:${hash('sha256', '/a')}`], ['/a']],
    ['several of them, one twice', ['/a', '/b', '/a'], ['/a', '/b', '/b']],
  ];
  for (const [what, only, paths] of table) {
    it(`has those that are named by ${what}, and no policy`, () => {
      const made = atOnce(withFilesInSteps(whole, only, 'node-1'));
      assert.equal(atOnce(contentFaultInSteps(made)), null);
      assert.deepEqual(
        [...filesOf(made)].map(({ path }) => path),
        paths,
      );
      assert.deepEqual(Object.keys(made.runtime ?? {}), ['files', 'count']);
    });
  }

  it('has a key that is named by its digest', () => {
    const { runtime } = atOnce(withFilesInSteps(whole, ['cd'.repeat(32)], 'node-1'));
    assert.deepEqual([runtime?.count, runtime?.keyrings], [0, keyrings]);
  });

  it('is none where one of them was not measured', () => {
    for (const missing of ['/e', 'ef'.repeat(32), hash('sha256', 'same').slice(2)])
      assert.throws(() => atOnce(withFilesInSteps(whole, ['/a', missing], 'node-1')), {
        name: 'CaptureError',
      });
  });
});

describe('the content of a reference of kind runtime', () => {
  const good = filesReference('good', ['/a']);
  const change = (runtime: Partial<NonNullable<Reference['runtime']>>): Reference => ({
    ...good,
    runtime: { ...(good.runtime ?? assert.fail()), ...runtime },
  });
  const { runtime: _, ...without } = good;
  const table: readonly (readonly [string, Reference, boolean])[] = [
    ['files', good, true],
    ['policies alone', filesReference('p', [], { more: { policies } }), true],
    ['keys alone', filesReference('k', [], { more: { keyrings } }), true],
    ['no member of its kind', without, false],
    ['nothing', filesReference('n', []), false],
    ['another number of files than it says', change({ count: 2 }), false],
    ['a list that is cut', change({ files: good.runtime?.files.slice(0, -4) ?? '' }), false],
    ['a list that is no base64', change({ files: `${good.runtime?.files}!` }), false],
    ['files, and is of another kind', { ...good, kind: 'boot' }, false],
    ['a demand that is of boots', { ...good, aggregate: 'required' }, false],
  ];
  for (const [what, given, isWhole] of table) {
    it(`is ${isWhole ? 'whole' : 'refused'} where it has ${what}`, () => {
      assert.equal(
        atOnce(contentFaultInSteps(given)) === null,
        isWhole,
        atOnce(contentFaultInSteps(given)) ?? '',
      );
    });
  }
});

describe('what a revocation of listed files leaves good', () => {
  const subject = filesReference('bad', ['/a', '/b', '/c']);
  const other = (name: string, files: readonly string[], given: Partial<Reference> = {}) =>
    filesReference(name, files, given);

  it('is what active references list, too, by content', () => {
    const references = [
      subject,
      other('some', ['/a', '/elsewhere=/b', '/x']),
      other('all', ['/a', '/b', '/c', '/d']),
      other('none', ['/a=other']),
      other('old', ['/a'], { state: 'retired' }),
      other('over', ['/a'], { expires: '2026-01-01T00:00:00.000Z' }),
    ];
    const found = atOnce(
      sharedWithInSteps(subject, references, policyOf('require: [identity, boot]'), Date.UTC(2026, 5)),
    );
    assert.deepEqual(found, [
      { name: 'some', whole: false, stages: [], files: 2 },
      { name: 'all', whole: true, stages: [], files: 3 },
    ]);
  });
});

function filesOf({ runtime }: Reference) {
  return parseFiles(runtime ?? assert.fail('it lists no files')).files();
}
