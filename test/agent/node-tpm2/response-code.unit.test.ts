import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { decodeResponseCode, parseResponseCode } from '../../../agent/node-tpm2/response-code.ts';

describe('TPM response codes', () => {
  const cases = [
    { value: 0x922, name: 'TPM_RC_RETRY', retryable: true, about: null },
    { value: 0x908, name: 'TPM_RC_YIELDED', retryable: true, about: null },
    { value: 0x90a, name: 'TPM_RC_TESTING', retryable: true, about: null },
    { value: 0x902, name: 'TPM_RC_OBJECT_MEMORY', retryable: true, about: null },
    { value: 0x921, name: 'TPM_RC_LOCKOUT', retryable: false, about: null },
    { value: 0x128, name: 'TPM_RC_PCR_CHANGED', retryable: true, about: null },
    { value: 0x126, name: 'TPM_RC_POLICY', retryable: false, about: null },
    { value: 0x100, name: 'TPM_RC_INITIALIZE', retryable: false, about: null },
    { value: 0x98e, name: 'TPM_RC_AUTH_FAIL', retryable: false, about: 'session 1' },
    { value: 0x99d, name: 'TPM_RC_POLICY_FAIL', retryable: false, about: 'session 1' },
    { value: 0x18b, name: 'TPM_RC_HANDLE', retryable: false, about: 'handle 1' },
    { value: 0x1df, name: 'TPM_RC_INTEGRITY', retryable: false, about: 'parameter 1' },
    { value: 0xb0922, name: 'TPM_RC_RETRY', retryable: true, about: null },
    { value: 0xa000a, name: 'TSS2_TCTI_RC_IO_ERROR', retryable: false, about: null },
    { value: 0x7000b, name: 'TSS2_ESYS_RC_BAD_VALUE', retryable: false, about: null },
    { value: 0xa0009, name: 'TSS2_TCTI_RC_TRY_AGAIN', retryable: true, about: null },
  ];
  for (const expected of cases)
    it(`decodes 0x${expected.value.toString(16)} as ${expected.name}`, () => {
      assert.deepEqual(decodeResponseCode(expected.value), expected);
    });

  it('is found in what a tool said', () => {
    const said =
      'ERROR: Esys_ContextLoad(0x1DF) - tpm:parameter(1):integrity check failed\nERROR: Unable to run';
    assert.equal(parseResponseCode(said)?.value, 0x1df);
  });

  it('is absent where a tool named none', () => {
    assert.equal(parseResponseCode('ERROR: Could not open file "s"'), null);
  });
});
