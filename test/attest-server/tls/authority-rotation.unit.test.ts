import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { pino } from 'pino';
import { openCustody } from '../../../attest-server/custody/open.ts';
import type { AuditEvent } from '../../../attest-server/formats/audit.ts';
import {
  type AuthorityRotation,
  createAuthorityRotation,
} from '../../../attest-server/tls/authority-rotation.ts';
import type { ServerIdentity } from '../../../attest-server/tls/identity.ts';
import type { Introduction } from '../../../attest-server/wire/messages.ts';
import { enrolled } from '../http/api-fixture.ts';
import { identityIn } from './made-identity.ts';

const logger = pino({ level: 'silent' });

describe("the server's authority while it is replaced", () => {
  let dir = '';
  let authority: AuthorityRotation;
  let served: ServerIdentity[] = [];
  let entries: AuditEvent[] = [];
  let isFull = false;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-authority-'));
    [served, entries] = [[], []];
    authority = await open();
  });
  afterEach(() => rm(dir, { recursive: true }));

  async function open(): Promise<AuthorityRotation> {
    const read = () => identityIn(dir, ['localhost'], Date.now());
    const enrolment = { nodes: async () => [enrolled('node-1'), enrolled('node-2')] };
    const audit = { append: async (event: AuditEvent) => void entries.push(event) };
    const serve = (identity: ServerIdentity) => {
      if (isFull) throw new Error('no room on the disk');
      served.push(identity);
    };
    const parts = {
      keys: openCustody(dir, dir).tls,
      identity: await read(),
      read,
      serve,
      enrolment,
      audit,
      now: () => 7,
      logger,
    };
    return createAuthorityRotation(parts);
  }
  const hello = (...authorities: readonly string[]): Introduction => ({
    type: 'hello',
    versions: { protocol: [1, 1], program: '1' },
    role: 'agent',
    node: 'node-1',
    banks: [],
    authorities: [...authorities],
    speaks: [],
  });
  const digests = async () => (await authority.ports.view()).authorities.map(({ digest }) => digest);

  it('is announced to nobody who trusts it, and who says nothing of authorities is told nothing, ever', async () => {
    const { authorities: _, ...older } = hello();
    assert.equal(authority.announce('node-1', hello(authority.digest), null).authorities, null);
    await authority.ports.rotate('token:admin');
    assert.deepEqual(authority.announce('node-1', older, null), { told: null, authorities: null });
    assert.deepEqual(authority.announce('node-1', null, null), { told: null, authorities: null });
    assert.equal((await authority.ports.view()).untold, 2);
  });

  it('is announced once a connection for each change, to those that are connected already too', async () => {
    const connection = hello(authority.digest);
    const first = authority.announce('node-1', connection, null);
    assert.equal(first.authorities, null);
    await authority.ports.rotate('token:admin');
    const second = authority.announce('node-1', connection, first.told);
    assert.equal(second.authorities?.length, 2);
    // A certificate that is read again is no other authority.
    await authority.renew();
    assert.equal(authority.announce('node-1', connection, second.told).authorities, null);
  });

  it('changes only once every enrolled node has said that it trusts the next one', async () => {
    await authority.ports.rotate('token:admin');
    const both = await digests();
    authority.announce('node-1', hello(...both), null);
    const { waitingFor } = await authority.ports.view();
    assert.deepEqual(waitingFor, ['node-2']);
    assert.equal(typeof (await authority.ports.finish(false, 'token:admin')), 'string');
    assert.equal(authority.digest, both[0]);
    authority.trusts('node-2', both);
    assert.notEqual(typeof (await authority.ports.finish(false, 'token:admin')), 'string');
    assert.equal(authority.digest, both[1]);
  });

  it('tells a gate, too, and does not count its node for that', async () => {
    await authority.ports.rotate('token:admin');
    const gate = { ...hello(...(await digests())), role: 'gate' as const };
    assert.equal(authority.announce('node-1', gate, null).authorities?.length, 2);
    assert.equal((await authority.ports.view()).untold, 2);
  });

  it('does not count a node any more that comes without the next one', async () => {
    await authority.ports.rotate('token:admin');
    const [inForce = '', next = ''] = await digests();
    authority.trusts('node-1', [inForce, next]);
    authority.announce('node-1', hello(inForce), null);
    assert.equal((await authority.ports.view()).untold, 2);
  });

  it('changes by force, and the audit log says how many were not told, and by whom', async () => {
    await authority.ports.rotate('token:admin');
    await authority.ports.finish(true, 'token:alice');
    await authority.ports.retire('token:alice');
    assert.deepEqual(
      entries.map(({ actor, action, detail }) => [actor, action, detail.untold]),
      [
        ['token:admin', 'authority.rotate', 0],
        ['token:alice', 'authority.finish', 2],
        ['token:alice', 'authority.retire', 0],
      ],
    );
    assert.deepEqual(
      served.map(({ stage }) => stage),
      ['announced', 'in_force', 'settled'],
    );
  });

  it('has a step in the audit log that was made on disk and could not be shown', async () => {
    isFull = true;
    await assert.rejects(authority.ports.rotate('token:admin'), /no room/);
    isFull = false;
    await authority.renew();
    assert.equal((await authority.ports.view()).stage, 'announced');
    assert.deepEqual(
      entries.map(({ actor, action }) => [actor, action]),
      [['token:admin', 'authority.rotate']],
    );
  });

  it('takes its steps in their order only, one after the other, also when asked at once', async () => {
    const refused = async (...steps: readonly ('finish' | 'retire' | 'rotate')[]) => {
      for (const step of steps) {
        const { ports } = authority;
        const result = step === 'finish' ? await ports.finish(true, 'a') : await ports[step]('a');
        assert.equal(typeof result, 'string', step);
      }
    };
    await refused('finish', 'retire');
    const twice = await Promise.all([authority.ports.rotate('a'), authority.ports.rotate('b')]);
    assert.deepEqual(
      twice.map((result) => typeof result),
      ['object', 'string'],
    );
    await refused('rotate', 'retire');
    await authority.ports.finish(true, 'a');
    await refused('rotate', 'finish');
  });

  it('goes on after a restart where it was', async () => {
    await authority.ports.rotate('token:admin');
    const before = await digests();
    authority = await open();
    assert.deepEqual(await digests(), before);
    await authority.ports.finish(true, 'token:admin');
    authority = await open();
    assert.deepEqual([(await authority.ports.view()).stage, authority.digest], ['in_force', before[1]]);
  });
});
