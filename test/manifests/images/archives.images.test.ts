import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, before, describe, it } from 'mocha';
import { run } from 'node-tpm2/run';
import { storageOf } from '../../../manifests/images/oci-image.ts';
import { type Built, type BuiltImage, imageOf, images, ownOf } from './built-images.ts';
import { type ContainerRuntime, openContainerd, openDocker } from './container-runtimes.ts';
import { askForImage } from './kubelet-question.ts';
import { readImages } from './rendered-pods.ts';

/** Each way of docs/images.md in which archives come onto nodes, where Debian has the program. */
describe('the archives of the images, without a network', function () {
  this.timeout(600_000);
  let built: Built;
  before(async () => {
    built = await images();
  });

  describe('by containerd', () => {
    let containerd: ContainerRuntime;
    before(async function () {
      if (process.getuid?.() !== 0) return notHere(this, 'it needs root');
      containerd = await openContainerd();
    });
    after(() => containerd?.[Symbol.asyncDispose]());

    it('have the names under which a kubelet looks for the images of the manifests, each its own', async () => {
      assert.deepEqual(
        [...readImages()].sort(),
        ['agent', 'server'].map((name) => `assay-${name}:${tagOf(built)}`),
      );
      for (const name of readImages()) assert.equal(await answerOf(containerd, name, false), null);
      for (const { archive } of built) await containerd.command('images', 'import', archive);
      await namesAreThose(containerd, built, ({ digest }) => digest);
      const made = (await namesIn(containerd)).filter((name) => name.startsWith('import-'));
      assert.deepEqual(made, []);
    });

    it('are found by their digest, too, where that is asked for', async () => {
      const agent = imageOf(built, 'assay-agent');
      const name = `${agent.name}@${agent.digest}`;
      await forget(containerd);
      assert.equal(await answerOf(containerd, name, false), null);
      const named = ['--digests', '--base-name', `docker.io/library/${agent.name}`];
      await containerd.command('images', 'import', ...named, agent.archive);
      for (const asked of [name, `${agent.name}:${agent.tag}`])
        assert.ok(await answerOf(containerd, asked, true), asked);
    });

    it('have these names by the options of kind and k3s, which take all architectures', async () => {
      for (const options of [
        ['--all-platforms', '--digests', '--snapshotter', 'overlayfs'],
        ['--all-platforms'],
      ]) {
        await forget(containerd);
        const { name, tag, archive } = imageOf(built, 'assay-agent');
        await containerd.command('images', 'import', ...options, archive);
        assert.ok(await answerOf(containerd, `${name}:${tag}`, true), options.join(' '));
      }
    });

    it('have these names where they are for one architecture', async () => {
      await forget(containerd);
      for (const image of built) await containerd.command('images', 'import', ownOf(image).archive);
      await namesAreThose(containerd, built, (image) => ownOf(image).digest);
    });
  });

  for (const store of ['own', 'containerd'] as const)
    describe(`by docker with ${store === 'own' ? 'its own store' : 'that of containerd'}`, () => {
      let docker: ContainerRuntime;
      before(async function () {
        if (process.getuid?.() !== 0) return notHere(this, 'it needs root');
        docker = await openDocker(store);
      });
      after(() => docker?.[Symbol.asyncDispose]());

      it('for one architecture, have the names of the manifests', async () => {
        for (const image of built) await docker.command('load', '--input', ownOf(image).archive);
        await namesAreIn(docker, built);
      });

      it(`for all, ${store === 'own' ? 'are not taken' : 'have them, too'}`, async () => {
        await docker.command('image', 'rm', ...built.map(({ name, tag }) => `${name}:${tag}`));
        const load = async () => {
          for (const { archive } of built) await docker.command('load', '--input', archive);
        };
        if (store === 'own') await assert.rejects(load);
        else {
          await load();
          await namesAreIn(docker, built);
        }
      });
    });

  describe('by podman', () => {
    let folder: string;
    const podman = (...args: readonly string[]) =>
      run('podman', [...storageOf(folder), ...args], {
        ...{ timeoutMs: 120_000, maxOutputBytes: 1024 * 1024 },
        env: { PODMAN_IGNORE_CGROUPSV1_WARNING: 'yes', HOME: folder },
      });
    before(async () => {
      folder = await mkdtemp(join(tmpdir(), 'assay-podman-'));
    });
    after(() => rm(folder, { recursive: true, force: true }));

    for (const [what, archiveOf] of [
      ['for all architectures', ({ archive }: BuiltImage) => archive],
      ['for one', (image: BuiltImage) => ownOf(image).archive],
    ] as const)
      it(`${what}, have the names that a node with its storage (CRI-O) takes with their host`, async () => {
        for (const image of built) await podman('load', '--input', archiveOf(image));
        for (const { name, tag } of built)
          await podman('image', 'exists', `docker.io/library/${name}:${tag}`);
        await podman('rmi', '--all', '--force');
      });
  });
});

function tagOf(built: Built): string {
  return imageOf(built, 'assay-agent').tag;
}

async function namesIn(containerd: ContainerRuntime): Promise<readonly string[]> {
  return (await containerd.command('images', 'list', '--quiet')).split('\n').filter(Boolean);
}

/** For a kubelet, and each with the digest that the build printed. */
async function namesAreThose(
  containerd: ContainerRuntime,
  built: Built,
  digestOf: (image: BuiltImage) => string,
): Promise<void> {
  const listed = await containerd.command('images', 'list');
  for (const image of built) {
    const name = `docker.io/library/${image.name}:${image.tag}`;
    assert.ok((await answerOf(containerd, `${image.name}:${image.tag}`, true))?.includes(name), name);
    const row = listed.split('\n').find((line) => line.startsWith(`${name} `));
    assert.equal(row?.split(/ +/)[2], digestOf(image), name);
  }
}

/** What a kubelet is told. The CRI of containerd hears a little later of what its store has. */
async function answerOf(
  { socket }: ContainerRuntime,
  image: string,
  isThere: boolean,
): Promise<readonly string[] | null> {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const answer = await askForImage(socket, image);
    if ((answer !== null) === isThere || Date.now() > deadline) return answer;
    await sleep(100);
  }
}

async function forget(containerd: ContainerRuntime): Promise<void> {
  await containerd.command('images', 'remove', '--sync', ...(await namesIn(containerd)));
}

async function namesAreIn(docker: ContainerRuntime, built: Built): Promise<void> {
  for (const { name, tag } of built)
    assert.equal(
      (
        await docker.command('image', 'inspect', '--format', '{{join .RepoTags " "}}', `${name}:${tag}`)
      ).trim(),
      `${name}:${tag}`,
    );
}

function notHere(test: Mocha.Context, why: string): void {
  console.log(`      not here: ${why}`);
  test.skip();
}
