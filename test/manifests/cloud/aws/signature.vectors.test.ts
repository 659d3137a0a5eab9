import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { signed, type UnsignedRequest } from '../../../../manifests/cloud/aws/signature.ts';

/**
 * Examples of AWS: "Create a signed AWS API request" (ListUsers, in the General Reference), and the Signature Version 4
 * test suite (get-vanilla, post-x-www-form-urlencoded). Apache-2.0.
 */
const keys = {
  accessKeyId: 'AKIDEXAMPLE',
  secretAccessKey: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY',
  sessionToken: null,
};
const at = new Date('2015-08-30T12:36:00Z');
const examples: readonly (readonly [string, string, UnsignedRequest, string, string])[] = [
  [
    'ListUsers',
    'iam',
    {
      method: 'GET',
      url: new URL('https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08'),
      headers: { 'content-type': 'application/x-www-form-urlencoded; charset=utf-8' },
      body: '',
    },
    'content-type;host;x-amz-date',
    '5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7',
  ],
  [
    'get-vanilla',
    'service',
    { method: 'GET', url: new URL('https://example.amazonaws.com/'), headers: {}, body: '' },
    'host;x-amz-date',
    '5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31',
  ],
  [
    'post-x-www-form-urlencoded',
    'service',
    {
      method: 'POST',
      url: new URL('https://example.amazonaws.com/'),
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: 'Param1=value1',
    },
    'content-type;host;x-amz-date',
    'ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a',
  ],
];

describe('the signature of a request to AWS', () => {
  for (const [name, service, request, names, signature] of examples)
    it(`is that of the example ${name}`, () => {
      const headers = signed(request, keys, { region: 'us-east-1', service, at });
      assert.equal(headers['x-amz-date'], '20150830T123600Z');
      assert.equal(
        headers.authorization,
        `AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/${service}/aws4_request, SignedHeaders=${names}, Signature=${signature}`,
      );
    });

  it('covers the session token, and holds no secret', () => {
    const [, , request] = examples[1] ?? assert.fail();
    const sign = (sessionToken: string) =>
      signed(request, { ...keys, sessionToken }, { region: 'us-east-1', service: 'service', at });
    const { authorization = '', ...headers } = sign('one');
    assert.equal(headers['x-amz-security-token'], 'one');
    assert.match(authorization, /SignedHeaders=host;x-amz-date;x-amz-security-token,/);
    assert.notEqual(authorization, sign('two').authorization);
    assert.equal(JSON.stringify(sign('one')).includes(keys.secretAccessKey), false);
  });
});
