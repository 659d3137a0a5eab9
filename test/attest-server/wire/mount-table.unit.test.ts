import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { mountOf, parseMountTable } from '../../../attest-server/wire/mount-table.ts';
import { rejectionOf } from '../verify/rejection-of.ts';

const folder = join(import.meta.dirname, '../../../swtpm-fixtures/recorded');
const recorded = (name: string) => readFileSync(join(folder, name, 'mountinfo.txt'));
const parse = (text: string) => parseMountTable(Buffer.from(text, 'latin1'));
const root = '1 0 8:1 / / rw,noatime shared:1 master:2 - ext4 /dev/sda1 rw\n';

describe('a mount table', () => {
  it('of a real machine says on which device a path lies', () => {
    const on = (name: string, path: string) => {
      const mount = mountOf(parseMountTable(recorded(name)), path);
      return [mount?.device, mount?.type, mount?.root];
    };
    assert.deepEqual(on('disk-01-luks2', '/var/lib/docker/volumes'), ['253:0', 'ext4', '/']);
    assert.deepEqual(on('disk-01-luks2', '/var/lib'), ['254:0', 'ext4', '/']);
    assert.deepEqual(on('disk-01-luks2', '/var/lib/docker-not'), ['254:0', 'ext4', '/']);
    assert.deepEqual(on('disk-09-bind-over', '/var/lib/docker'), ['254:0', 'ext4', '/srv/plain']);
    assert.deepEqual(on('disk-10-overlay-upper-plain', '/var/lib/docker'), ['0:29', 'overlay', '/']);
  });

  it('is read by its fields', () => {
    const [mount] = parse(
      '36 35 98:0 /mnt\\0401 /mnt\\0122\\134 rw,noatime master:1 - ext3.x /dev/\\043root rw,a=b\\054c\n',
    );
    assert.deepEqual(mount, {
      id: 36,
      parent: 35,
      device: '98:0',
      root: '/mnt 1',
      mountPoint: '/mnt\n2\\',
      options: 'rw,noatime',
      optional: ['master:1'],
      type: 'ext3.x',
      source: '/dev/#root',
      superOptions: 'rw,a=b\\054c',
    });
    assert.equal(parse('1 0 0:1 / / rw - tmpfs  rw\n')[0]?.source, '');
    assert.deepEqual(parse(''), []);
    assert.equal(mountOf([], '/'), null);
  });

  for (const [what, text, field] of [
    ['a line that is cut', root.trimEnd(), 'line'],
    ['an empty line', `${root}\n`, 'mount id'],
    ['an id that is no number', root.replace('1 0', 'a 0'), 'mount id'],
    ['a parent that is below nothing', root.replace('1 0', '1 -1'), 'parent id'],
    ['a device that is none', root.replace('8:1', '8'), 'major:minor'],
    ['two spaces', root.replace(' / / ', ' /  / '), 'mount point'],
    ['a mount point that is not absolute', root.replace(' / / ', ' / a '), 'mount point'],
    ['an escape that is none', root.replace('/dev', '\\04dev'), 'mount source'],
    ['an escape of no byte', root.replace('/dev', '\\400dev'), 'mount source'],
    ['a tab', root.replace('/dev', '\tdev'), 'line'],
    ['no separator', root.replace(' - ', ' '), 'optional field'],
    ['no source and no options', '1 0 8:1 / / rw - ext4\n', 'mount source'],
    ['no super options', '1 0 8:1 / / rw - ext4 x\n', 'super options'],
    ['more after the super options', root.replace('\n', ' more\n'), 'super options'],
    ['an id twice', root + root, 'mount id'],
  ] as const)
    it(`with ${what} is malformed, at the ${field}`, () => {
      const rejection = rejectionOf(() => parse(text));
      assert.deepEqual([rejection?.code, rejection?.field], ['malformed', field]);
      assert(rejection?.offset !== undefined && rejection.offset <= text.length);
    });

  it('that has no end is too large, and is not read', () => {
    assert.equal(rejectionOf(() => parse(root.replace('rw,', 'x'.repeat(300_000))))?.code, 'too_large');
    assert.equal(rejectionOf(() => parseMountTable(Buffer.alloc(17 * 1024 * 1024)))?.code, 'too_large');
  });

  it('whose mounts lie on one another in a circle holds nobody for ever', () => {
    const circle =
      '2 3 0:1 / /a rw - tmpfs x rw\n3 2 0:1 / /a rw - tmpfs x rw\n4 1 0:1 / /a rw - tmpfs y rw\n';
    assert.equal(mountOf(parse(root + circle), '/a/b')?.source, 'y');
    const tail = '2 1 0:1 / /a rw - tmpfs x rw\n3 3 0:1 / /a rw - tmpfs z rw\n';
    assert.equal(mountOf(parse(root + tail), '/a/b')?.source, 'x');
  });

  it('is asked for absolute paths without links only', () => {
    for (const path of ['', 'a', '//', '/a/', '/a//b', '/.', '/a/../b', '/a/..', '/a\0'])
      assert.throws(() => mountOf(parse(root), path), RangeError, path);
    for (const path of ['/', '/a', '/...', '/.a/..b']) assert.equal(mountOf(parse(root), path)?.id, 1);
  });
});
