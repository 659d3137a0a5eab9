import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { dateFault } from '../../../attest-server/wire/certificate-dates.ts';
import { identityIn } from '../tls/made-identity.ts';

const hour = 3_600_000;

describe('what is said of a certificate that is not good now', () => {
  let dir = '';
  let chain: readonly X509Certificate[] = [];
  let [from, until, authorityUntil] = [0, 0, 0];
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-dates-'));
    // The server's own ends before its authority does.
    const identity = await identityIn(dir, ['localhost'], Date.now() + 24 * hour);
    const leaf = new X509Certificate(identity.chain);
    chain = [leaf, new X509Certificate(identity.ca)];
    [from, until, authorityUntil] = [
      leaf.validFromDate.getTime(),
      identity.notAfter,
      identity.authorityNotAfter,
    ];
  });
  after(() => rm(dir, { recursive: true }));

  it('is nothing where all of the chain is good', () => {
    for (const now of [from, until]) assert.equal(dateFault(chain, now), null);
    assert.equal(dateFault([], until + hour), null);
  });

  it('names the moment, whose it is, and the clock here; and what to do at either side', () => {
    for (const [now, certificates, moment, whose, advice] of [
      [until + hour, chain, until, "the server's certificate ended", '#the-certificate'],
      [from - hour, chain, from, "the server's certificate is good from", 'One of the two clocks'],
      [authorityUntil + hour, chain.slice(1), authorityUntil, 'certificate ended', '#the-certificate'],
    ] as const) {
      const { text, hint } = dateFault(certificates, now) ?? assert.fail();
      assert.ok(text.includes(whose), text);
      for (const each of [moment, now]) assert.ok(text.includes(new Date(each).toISOString()), text);
      assert.ok(hint.includes(advice), hint);
    }
  });

  it('names the authority where that has ended alone', () => {
    const [, authority] = chain;
    assert.ok(authority);
    const leaf = { validFromDate: new Date(0), validToDate: new Date(authorityUntil + 10 * hour) };
    const fault = dateFault([leaf, authority], authorityUntil + hour) ?? assert.fail();
    assert.match(fault.text, /^the authority of the server's certificate ended/);
    assert.match(fault.hint, /#an-authority-that-has-ended/);
  });
});
