import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { run } from 'node-tpm2/run';
import { scriptOf, unitOf } from '../../../manifests/debian/build.ts';
import { packages } from '../../../manifests/debian/packages.ts';

const manifests = join(import.meta.dirname, '../../../manifests');
const host = join(manifests, 'host');

describe('the packages for Debian', () => {
  it('bring each unit of manifests/host once', () => {
    const brought = packages.flatMap(({ service, units }) => [service, ...units]);
    const there = readdirSync(host).filter((name) => /\.(path|service|socket|timer)$/.test(name));
    assert.deepEqual(brought.sort(), there.sort());
  });

  it('bring each drop-in of manifests/host once, but those of agents in pods', () => {
    const brought = packages.flatMap(({ dropIns, examples }) => [...Object.values(dropIns), ...examples]);
    const there = readdirSync(host).filter((name) => /(?<!sysusers|\.pods)\.conf$/.test(name));
    assert.deepEqual(brought.sort(), there.sort());
  });

  for (const recipe of packages)
    for (const name of [recipe.service, ...recipe.units])
      it(`${recipe.name} starts its own programs by ${name}, and only where it is configured`, () => {
        const text = unitOf(recipe, name, readFileSync(join(host, name), 'utf8'));
        for (const [, started = ''] of text.matchAll(/^ExecStart=(\S+)/gm))
          assert.match(started, /^\/usr\/(bin\/assay-(agent|server)|lib\/systemd\/systemd-makefs)$/);
        assert.doesNotMatch(text, /usr\/local/);
        const conditions = [...text.matchAll(/^ConditionPathExists=(.*)$/gm)].map(([, path]) => path);
        // People enable the gate and disk keys, whose configuration is another.
        const isOptIn = /gate|unlock|cap|volume/.test(name);
        assert.deepEqual(conditions, isOptIn ? [] : [recipe.config]);
      });

  it('bring a manual page for each program on PATH', () => {
    const pages = readdirSync(join(manifests, '../docs/man/man1')).map((name) => name.replace(/\.1$/, ''));
    const brought = packages.flatMap(({ recipe, links }) => Object.keys({ ...recipe.commands, ...links }));
    assert.deepEqual([...new Set(brought)].sort(), pages.sort());
  });

  for (const recipe of packages)
    for (const script of ['postinst', 'prerm', 'postrm'])
      it(`${recipe.name} has a ${script} that a shell can read, and that removes no file`, async () => {
        const text = scriptOf(recipe, readFileSync(join(manifests, 'debian', script), 'utf8'));
        await run('sh', ['-n'], { timeoutMs: 10_000, maxOutputBytes: 1024, input: Buffer.from(text) });
        assert.doesNotMatch(text, /@[A-Z]+@/);
        // It names the command that a person may type.
        assert.doesNotMatch(text.replace(/^.*echo .*$/gm, ''), /\brm\b/);
        assert.equal(/assay-gate\.service/.test(text), recipe.name === 'assay-agent' && script === 'prerm');
      });
});
