import { z } from 'zod';

const notTpm = 'names no TPM: write device:/dev/tpmrm0 or swtpm:path=/run/socket';

/** Which TPM. node-tpm2 judges the rest when it opens it. */
export const tcti = z
  .string(notTpm)
  .regex(/^[a-z]+:[\x21-\x7e]+$/, notTpm)
  .default('device:/dev/tpmrm0')
  .describe('the TPM, as tpm2-tools name it');
