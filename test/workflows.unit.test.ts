import assert from 'node:assert/strict';
import { globSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { describe, it } from 'mocha';
import { run } from 'node-tpm2/run';
import { parse } from 'yaml';
import { z } from 'zod';

const folder = join(import.meta.dirname, '../.github/workflows');
const rights = z.record(z.string(), z.enum(['read', 'write', 'none']));
const step = z.looseObject({
  uses: z.string().optional(),
  run: z.string().optional(),
  with: z.record(z.string(), z.unknown()).optional(),
  env: z.record(z.string(), z.string()).optional(),
});
const job = z.looseObject({
  permissions: rights,
  'timeout-minutes': z.int().max(120),
  'runs-on': z.string(),
  steps: z.array(step).min(1),
});
const workflow = z.looseObject({
  on: z.record(z.string(), z.unknown()),
  permissions: rights,
  concurrency: z.looseObject({ group: z.string() }),
  defaults: z.strictObject({ run: z.strictObject({ shell: z.string() }) }),
  jobs: z.record(z.string(), job),
});

/** What each job may write; no other may write anything. */
const writers: Readonly<Record<string, readonly string[]>> = {
  'release.yml publish': ['id-token', 'attestations'],
  'release.yml announce': ['contents'],
};

describe('the recipe of a forge', () => {
  const files = readdirSync(folder).sort();
  const texts = new Map(files.map((file) => [file, readFileSync(join(folder, file), 'utf8')]));

  it('is these files', () => {
    assert.deepEqual(files, ['ci.yml', 'release.yml']);
  });

  for (const [file, text] of texts) {
    const { on, permissions, defaults, jobs } = workflow.parse(parse(text));
    const steps = Object.entries(jobs).flatMap(([name, { steps: its }]) =>
      its.map((each) => ({ name, ...each })),
    );

    it(`${file} names each action by its commit, and says which version that is`, () => {
      const used = [...text.matchAll(/^ *-? *uses: *(.*)$/gm)].map(([, rest]) => rest ?? '');
      assert.ok(used.length > 0);
      assert.equal(used.length, steps.filter(({ uses }) => uses !== undefined).length);
      for (const each of used)
        assert.match(each, /^[\w-]+\/[\w-]+(\/[\w./-]+)?@[0-9a-f]{40} # v\d+\.\d+\.\d+$/);
    });

    it(`${file} gives no right to all jobs but to read, and to each what it needs`, () => {
      for (const right of Object.values(permissions)) assert.notEqual(right, 'write');
      for (const [name, { permissions: its }] of Object.entries(jobs)) {
        const written = Object.keys(its).filter((right) => its[right] === 'write');
        assert.deepEqual(written, writers[`${file} ${name}`] ?? [], name);
      }
    });

    it(`${file} lets nobody outside run with its rights, or put words into its shell`, () => {
      assert.deepEqual(
        Object.keys(on).filter((event) => !['push', 'pull_request'].includes(event)),
        [],
      );
      for (const { run = '', name } of steps) assert.doesNotMatch(run, /\$\{\{/, name);
      for (const { uses = '', with: its } of steps)
        if (uses.startsWith('actions/checkout@')) assert.equal(its?.['persist-credentials'], false);
    });

    it(`${file} ends a step where any program of a pipe fails: sh does so for the last one alone`, () => {
      assert.equal(defaults.run.shell, 'bash');
    });

    it(`${file} names no registry`, () => {
      assert.doesNotMatch(text, /\b(docker|ghcr|quay|gcr|ecr|pkg|npmjs|registry)\.[a-z]|https?:/);
    });
  }

  it('hands on layouts, archives and SBOMs of the images, and nothing else that their build leaves', async () => {
    // As npm run images leaves it; an artifact takes no name with a colon, and follows links.
    const left = ['storage-state/vfs-locks/sha256:aa', 'cache/x', 'agent-amd64.tar', 'programs/assay.js'];
    const kept = [
      'assay-agent/index.json',
      'assay-agent.oci.tar',
      'assay-agent-amd64.docker.tar',
      'assay-agent-amd64.spdx.json',
    ];
    const place = mkdtempSync(join(tmpdir(), 'assay-workflow-'));
    try {
      for (const file of [...left, ...kept]) {
        mkdirSync(dirname(join(place, 'images', file)), { recursive: true });
        writeFileSync(join(place, 'images', file), '');
      }
      const command = /^ *((?:find|rm) .*\bimages\b.*)$/m.exec(texts.get('release.yml') ?? '')?.[1];
      assert.ok(command !== undefined);
      await run('sh', ['-euc', `cd ${place}\n${command}`], { timeoutMs: 10_000, maxOutputBytes: 1024 });
      const found = globSync('images/**/*', { cwd: place, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => relative(join(place, 'images'), join(entry.parentPath, entry.name)));
      assert.deepEqual(found.sort(), kept.sort());
    } finally {
      rmSync(place, { recursive: true });
    }
  });

  it('is the same in each: the pull of a stranger has no secret and writes nothing', () => {
    assert.doesNotMatch(texts.get('ci.yml') ?? '', /secrets\.|write/);
  });
});
