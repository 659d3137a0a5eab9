import { asksToWait, type CloudAnswer } from '../ask.ts';
import { CloudFault } from '../lookup.ts';
import { textIn } from './xml.ts';

/** The code of an error of EC2 or STS; null where the answer has none. */
export function codeOf({ text }: CloudAnswer): string | null {
  const code = textIn(text, 'Code');
  return code !== null && /^[A-Za-z0-9.]{1,64}$/.test(code) ? code : null;
}

const throttled = new Set(['RequestLimitExceeded', 'Throttling', 'ThrottlingException', 'RequestThrottled']);
const passing = new Set(['InternalError', 'InternalFailure', 'ServiceUnavailable', 'Unavailable']);

/** What an answer that is no success means. Only the code is repeated: messages hold names of accounts and roles. */
export function faultOf(of: string, answer: CloudAnswer, needs: string): CloudFault {
  const code = codeOf(answer);
  const said = `HTTP ${answer.status}${code === null ? '' : `, ${code}`}`;
  if (code !== null && throttled.has(code))
    return new CloudFault(`${of} wants fewer requests (${said})`, {
      waitFor: null,
      ...asksToWait(answer),
      passes: true,
    });
  if (code !== null && passing.has(code))
    return new CloudFault(`${of} has a fault (${said})`, {
      waitFor: null,
      ...asksToWait(answer),
      passes: true,
    });
  switch (code) {
    case 'UnauthorizedOperation':
    case 'AccessDenied':
    case 'AccessDeniedException':
      return new CloudFault(`${of} denies it (${said}): ${needs}`);
    case 'AuthFailure':
    case 'InvalidClientTokenId':
    case 'SignatureDoesNotMatch':
    case 'MissingAuthenticationToken':
    case 'InvalidIdentityToken':
      return new CloudFault(`${of} does not take the credentials (${said})`);
    case 'RequestExpired':
    case 'ExpiredToken':
    case 'ExpiredTokenException':
      return new CloudFault(`${of} says that the credentials have ended, or this clock is wrong (${said})`);
    default:
      return new CloudFault(`${of} answered with an error (${said})`, asksToWait(answer) ?? {});
  }
}
