import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { describe, it } from 'mocha';
import { DigestList } from '../../../attest-server/formats/digest-list.ts';
import type { ListedFile } from '../../../attest-server/formats/packed-list.ts';
import { diffFiles } from '../../../attest-server/policy/files-diff.ts';

const all = { packages: 100, files: 100 };
const same = file('/usr/bin/same', 'same', 'base 1');
const before = DigestList.of([
  same,
  file('/usr/bin/bash', 'old', 'bash 5.2-1'),
  file('/usr/share/bash', 'old text', 'bash 5.2-1'),
  file('/etc/gone', 'gone', 'gone 1'),
  file('/both', 'one', null),
]);
const after = DigestList.of([
  same,
  file('/usr/bin/bash', 'new', 'bash 5.2-2'),
  file('/usr/share/bash', 'old text', 'bash 5.2-2'),
  file('/usr/bin/fresh', 'fresh', 'bash 5.2-2'),
  file('/both', 'one', null),
  file('/both', 'two', null),
]);

describe('the difference of two lists of files', () => {
  it('is told by path: what came, what went, and what has another content', () => {
    const { added, removed, changed, files } = diffFiles(before, after, all);
    assert.deepEqual([added, removed, changed], [1, 1, 2]);
    assert.deepEqual(files, [
      { path: '/both', before: hex('one'), after: hex('one', 'two'), package: null },
      { path: '/etc/gone', before: hex('gone'), after: [], package: 'gone 1' },
      { path: '/usr/bin/bash', before: hex('old'), after: hex('new'), package: 'bash 5.2-2' },
      { path: '/usr/bin/fresh', before: [], after: hex('fresh'), package: 'bash 5.2-2' },
    ]);
  });

  it('is told by package, an update as one, that with the most changes first', () => {
    const { packages } = diffFiles(before, after, all);
    assert.deepEqual(packages, [
      { name: 'bash', before: ['5.2-1'], after: ['5.2-2'], added: 1, removed: 0, changed: 1 },
      { name: null, before: [], after: [], added: 0, removed: 0, changed: 1 },
      { name: 'gone', before: ['1'], after: [], added: 0, removed: 1, changed: 0 },
    ]);
  });

  it('is nothing of the same list, also where packages have other versions', () => {
    const renamed = DigestList.of([...before.files()].map((one) => ({ ...one, package: 'other 2' })));
    for (const list of [before, renamed])
      assert.deepEqual(diffFiles(before, list, all), {
        added: 0,
        removed: 0,
        changed: 0,
        packages: [],
        morePackages: 0,
        files: [],
        moreFiles: 0,
      });
  });

  it('is bounded, and says how much more there is', () => {
    const found = diffFiles(before, after, { packages: 1, files: 3 });
    assert.deepEqual(
      [found.packages.length, found.morePackages, found.files.length, found.moreFiles],
      [1, 2, 3, 1],
    );
  });

  it('goes by the order of bytes, in which both lists are', () => {
    const paths = ['/\ue000', '/😀', '/a', '/a/b', '/aé'];
    const listOf = (names: readonly string[]) => DigestList.of(names.map((path) => file(path, path, null)));
    for (const path of paths) {
      const others = paths.filter((other) => other !== path);
      const { files } = diffFiles(listOf(paths), listOf(others), all);
      assert.deepEqual(
        files.map((one) => one.path),
        [path],
      );
    }
  });
});

function file(path: string, content: string, name: string | null): ListedFile {
  return { digest: hash('sha256', content, 'buffer'), path, package: name };
}

function hex(...contents: readonly string[]): string[] {
  return contents.map((content) => hash('sha256', content)).sort();
}
