import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { DirectoryFault } from '../../../attest-server/declared/directory-fault.ts';
import { snapshotOf } from '../../../attest-server/declared/snapshot.ts';
import { signedDirectory } from './signed-directory.ts';

describe('what is in a directory', () => {
  it('is each file that a manifest may name, and none of Git or of an editor', async () => {
    await using git = await signedDirectory([]);
    for (const path of ['policy.yaml', 'a/b/c/deep.json', '.git/x.json', 'a/.swap.json', 'README.md'])
      await git.write(path, '{}');
    assert.deepEqual((await snapshotOf(git.directory)).paths, ['a/b/c/deep.json', 'policy.yaml']);
  });

  it('is looked at no further where it is more than a manifest can name', async () => {
    await using git = await signedDirectory([]);
    const names = Array.from({ length: 1025 }, (_, index) => `r${index}.json`);
    await Promise.all(names.map((name) => git.write(name, '{}')));
    await assert.rejects(
      snapshotOf(git.directory),
      (error) => error instanceof DirectoryFault && error.code === 'too_large',
    );
    await git.remove('r0.json');
    assert.equal((await snapshotOf(git.directory)).paths.length, 1024);
  });

  it('is not left out because no manifest can name it: it is refused', async () => {
    for (const path of ['a/b/c/d/deeper.json', 'with blank.json', 'a/b/c/d/e/f/g/pins.json']) {
      await using git = await signedDirectory([]);
      await git.write(path, '{}');
      await assert.rejects(
        snapshotOf(git.directory),
        (error) => error instanceof DirectoryFault && error.code === 'malformed',
        path,
      );
    }
  });
});
