import assert from 'node:assert/strict';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, it } from 'mocha';
import {
  type DeclaredParts,
  type DeclaredPorts,
  openDeclared,
} from '../../../attest-server/declared/open.ts';
import { declaredChanges } from '../../../attest-server/references/declare.ts';
import type { Store } from '../../../attest-server/store/open.ts';
import { referenceOf } from '../http/api-fixture.ts';
import { openMadeStore } from '../store/made-store.ts';
import { type SignedDirectory, signedDirectory } from './signed-directory.ts';

describe('a signed directory that cannot be put in force', () => {
  it('is tried again, and is not said to be faulty: what failed is the server’s', async () => {
    await using git = await declaredOnce();
    await using store = await openMadeStore(':memory:');
    const faults: unknown[] = [];
    const faulty: unknown[] = [];
    await using declared = await opened(git, store, (error) => void faults.push(error));
    // As where the disk is full: once before it is stored, once after.
    const failures = [true, false];
    let done = () => {};
    const inForce = new Promise<void>((resolve) => {
      done = resolve;
    });
    await declared.begin({
      ...changing(store),
      async adopt(_policy, storeIt) {
        const isBefore = failures.shift();
        if (isBefore === true) throw new Error('no room');
        await storeIt();
        if (isBefore === false) throw new Error('no room');
        done();
      },
      told: { reloaded() {}, notReloaded: (_part, error) => void faulty.push(error) },
    });
    assert.equal(declared.inForce(), null);
    await inForce;
    assert.deepEqual([faults.length, faulty], [2, []]);
    assert.deepEqual(
      (await store.references.list()).map(({ name, declared: by }) => [name, by?.serial]),
      [['a', 1]],
    );
  });

  it('is told once where it is gone, and what was in force stays', async () => {
    await using git = await declaredOnce();
    await using store = await openMadeStore(':memory:');
    const told: string[] = [];
    await using declared = await opened(git, store, (error) => assert.fail(String(error)));
    let isTold = () => {};
    const next = () =>
      new Promise<void>((resolve) => {
        isTold = resolve;
      });
    const note = (what: string) => {
      told.push(what);
      isTold();
    };
    await declared.begin({
      ...changing(store),
      told: {
        reloaded: () => note('counts'),
        notReloaded: (_part, { message }) => note(message.split(':')[0] ?? ''),
      },
    });
    const gone = next();
    await rename(git.directory, `${git.directory}.gone`);
    await gone;
    const back = next();
    await rename(`${git.directory}.gone`, git.directory);
    await back;
    assert.deepEqual(told, ['counts', 'unreadable', 'counts']);
    assert.equal(declared.inForce()?.serial, 1);
  });

  it('is told although somebody writes it at every look (row 252)', async () => {
    await using git = await declaredOnce();
    await using store = await openMadeStore(':memory:');
    const told: string[] = [];
    await using declared = await opened(git, store, (error) => assert.fail(String(error)));
    await declared.begin({
      ...changing(store),
      told: {
        reloaded() {},
        notReloaded: (_part, { message }) => void told.push(message.split(':')[0] ?? ''),
      },
    });
    for (let turn = 0; told.length === 0; turn += 1) {
      await git.write('more.json', `{"turn": ${turn}}`);
      await sleep(2);
    }
    assert.deepEqual([told, declared.inForce()?.serial], [['unsigned'], 1]);
  });

  it('stays faulty where its keys are, whatever its files say', async () => {
    await using git = await declaredOnce();
    await using store = await openMadeStore(':memory:');
    const key = await readFile(git.publicKey('merge'));
    let counts = 0;
    await using declared = await opened(git, store, (error) => assert.fail(String(error)));
    await declared.begin({
      ...changing(store),
      told: {
        reloaded() {
          counts += 1;
        },
        // Between manifest and signature there is none.
        notReloaded() {},
      },
    });
    await writeFile(git.publicKey('merge'), 'no key\n');
    await assert.rejects(declared.read());
    await git.write('b.json', referenceOf('b'));
    await git.declare();
    while (declared.inForce()?.serial !== 2) await sleep(10);
    assert.equal(counts, 1);
    await writeFile(git.publicKey('merge'), key);
    await declared.read();
    await git.write('c.json', referenceOf('c'));
    await git.declare();
    while (counts < 2) await sleep(10);
    assert.equal(declared.inForce()?.serial, 3);
  });

  it('is read again by and by where what is wrong is not in its files, and told once', async () => {
    await using git = await signedDirectory();
    await using store = await openMadeStore(':memory:');
    await git.write('a.json', referenceOf('a'));
    await git.write('pins.csv', `node-1,${'ab'.repeat(32)}\n`);
    await git.declare();
    const told: string[] = [];
    let holder: { readonly name: string } | null = { name: 'node-2' };
    let reads = 0;
    let counts = () => {};
    const inForce = new Promise<void>((resolve) => {
      counts = resolve;
    });
    await using declared = await opened(git, store, (error) => assert.fail(String(error)));
    await declared.begin({
      ...changing(store),
      async nodeByEk() {
        reads += 1;
        // Revoked after a while: nobody writes the directory for that.
        if (reads === 3) holder = null;
        return holder;
      },
      told: {
        reloaded() {
          told.push('counts');
          counts();
        },
        notReloaded: (_part, { message }) => void told.push(message.split(':')[0] ?? ''),
      },
    });
    await inForce;
    assert.deepEqual([told, declared.inForce()?.serial], [['pins', 'counts'], 1]);
  });
});

/** Of one reference, signed. */
async function declaredOnce(): Promise<SignedDirectory> {
  const git = await signedDirectory();
  await git.write('a.json', referenceOf('a'));
  await git.declare();
  return git;
}

function opened(git: SignedDirectory, store: Store, fault: DeclaredParts['fault']) {
  return openDeclared(
    { directory: git.directory, keys: [git.publicKey('merge')], lookEvery: 10 },
    { store: store.declared, methods: ['pin'], now: () => 1, inForce() {}, fault },
  );
}

function changing(
  store: Store,
): Pick<DeclaredPorts, 'nodeByEk' | 'declared' | 'judge' | 'declare' | 'adopt'> {
  return {
    nodeByEk: store.enrolment.nodeByEk,
    declare: async (declaration, commit) =>
      commit(declaredChanges(await store.references.list(), declaration)),
    declared: () => store.references.list(),
    async judge() {},
    adopt: (_policy, storeIt) => storeIt(),
  };
}
