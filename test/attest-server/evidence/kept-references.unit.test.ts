import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { describe, it } from 'mocha';
import {
  keepReferences,
  listsOfReferences,
  readReferences,
} from '../../../attest-server/evidence/kept-references.ts';
import { keptContext } from '../../../attest-server/evidence/pack.ts';
import { DigestList } from '../../../attest-server/formats/digest-list.ts';
import { type Reference, reference } from '../../../attest-server/formats/reference.ts';

const boot = made('boot-1', {});
const files = (path: string) =>
  DigestList.of([{ digest: hash('sha256', path, 'buffer'), path, package: null }]).toBytes();
const [one, two] = [files('/usr/bin/one'), files('/usr/bin/two')];
const runtime = (name: string, list: Buffer, state: Reference['state'] = 'active') =>
  made(name, { kind: 'runtime', state, runtime: { files: list.toString('base64'), count: 1 } });
const digestOf = (bytes: Buffer) => hash('sha256', bytes);
const held = new Map([one, two].map((bytes) => [digestOf(bytes), bytes]));
const read = async (digest: string) => held.get(digest) ?? null;

describe('references that are kept beside evidence', () => {
  const all = [boot, runtime('a', one), runtime('b', two), runtime('c', one, 'retired')];

  it('come back as they were, whether they list files or not', async () => {
    for (const references of [[], [boot], all]) {
      const { text } = keepReferences(references);
      assert.deepEqual(await readReferences(Buffer.from(text), read), references);
    }
  });

  it('are read as earlier programs kept them, and kept so where none lists files', async () => {
    assert.equal(keepReferences([boot]).text, JSON.stringify([boot]));
    assert.deepEqual(await readReferences(Buffer.from(JSON.stringify(all)), read), all);
  });

  it('name each list of files once, and hold none of its bytes', () => {
    const { text, lists } = keepReferences(all);
    assert.deepEqual([...lists.keys()], [digestOf(one), digestOf(two)]);
    assert.deepEqual(listsOfReferences(Buffer.from(text)), [digestOf(one), digestOf(two)]);
    assert(!text.includes(one.toString('base64')));
    assert.deepEqual(listsOfReferences(Buffer.from(JSON.stringify([boot]))), []);
  });

  it('share the blobs of their lists with those of before a step', () => {
    const [before, after] = [all, [boot, runtime('a', one, 'revoked'), runtime('b', two)]].map((references) =>
      keptContext('policy', references),
    );
    const listsOf = (context = before) => context?.blobs.slice(2).map(({ digest }) => digest);
    assert.notEqual(before?.references, after?.references);
    assert.deepEqual(listsOf(after), listsOf(before));
    for (const { digest, bytes } of before?.blobs ?? []) assert.equal(digestOf(bytes), digest);
  });

  it('are none where a list of them is gone', async () => {
    const { text } = keepReferences(all);
    assert.equal(await readReferences(Buffer.from(text), async () => null), null);
  });
});

function made(name: string, given: Partial<Reference>): Reference {
  return reference.parse({
    version: 1,
    kind: 'boot',
    name,
    group: 'workers',
    state: 'active',
    expires: null,
    pcrs: {},
    ...given,
  });
}
