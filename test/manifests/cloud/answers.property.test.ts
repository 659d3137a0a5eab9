import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { parseAwsMachine } from '../../../manifests/cloud/aws/machine.ts';
import { textIn } from '../../../manifests/cloud/aws/xml.ts';
import { digestOfArea, digestOfPem } from '../../../manifests/cloud/ek-digest.ts';
import { parseGceMachine } from '../../../manifests/cloud/gce/machine.ts';
import { CloudFault } from '../../../manifests/cloud/lookup.ts';
import { ekTemplate, softwareKey } from '../../attest-server/verify/software-key.ts';

const { publicArea } = softwareKey('p256', ekTemplate);

describe('what clouds answer', () => {
  it('is a digest or a CloudFault, whatever the bytes', () => {
    const isDigestOrFault = (make: () => string) => {
      try {
        assert.match(make(), /^[0-9a-f]{64}$/);
      } catch (error) {
        if (!(error instanceof CloudFault)) throw error;
      }
    };
    const changed = fc
      .tuple(fc.nat({ max: publicArea.length - 1 }), fc.nat({ max: 255 }), fc.nat({ max: publicArea.length }))
      .map(([at, value, end]) => {
        const bytes = Buffer.from(publicArea);
        bytes[at] = value;
        return bytes.subarray(0, end);
      });
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 512 }), changed), (bytes) =>
        isDigestOrFault(() => digestOfArea('the cloud', Buffer.from(bytes))),
      ),
    );
    const pem = fc.oneof(
      fc.string(),
      fc.base64String().map((text) => `-----BEGIN PUBLIC KEY-----\n${text}\n-----END PUBLIC KEY-----\n`),
    );
    fc.assert(fc.property(pem, (text) => isDigestOrFault(() => digestOfPem('the cloud', text))));
  });

  it('gives the text of an element that is there once, and of no other', () => {
    const text = fc.stringMatching(/^[^<>]{0,32}$/);
    fc.assert(
      fc.property(text, fc.string(), (inner, around) => {
        assert.equal(textIn(`<a><Code>${inner}</Code></a>`, 'Code'), inner.trim());
        assert.equal(textIn(`<Code>${inner}</Code><Code>${inner}</Code>`, 'Code'), null);
        assert.equal(textIn(`<Code>${inner}<b/></Code>`, 'Code'), null);
        textIn(around, 'Code');
      }),
    );
  });

  it('is asked about one path only, whatever a providerID says', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.string().map((end) => `gce://${end}`),
        ),
        (id) => {
          const machine = parseGceMachine(id);
          if (machine !== null)
            for (const part of [machine.zone, machine.name]) assert.match(part, /^[a-z0-9-]+$/);
          parseAwsMachine(id);
        },
      ),
    );
  });
});
