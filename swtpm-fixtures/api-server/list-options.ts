import type { ObjectStore } from './object-store.ts';
import { ApiError, badRequest, type Cause, forbiddenField, invalid, notSupported } from './status.ts';

const matchWords = ['Exact', 'NotOlderThan'] as const;

/** What contradicts itself in the query of a list or watch. @throws ApiError 400, 422 */
export function checkListOptions(query: URLSearchParams, isWatch: boolean): void {
  for (const name of ['limit', 'timeoutSeconds']) {
    const text = query.get(name) ?? '';
    if (text !== '' && !/^[+-]?\d{1,18}$/.test(text)) {
      throw badRequest(`strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax`);
    }
  }
  const match = query.get('resourceVersionMatch') ?? '';
  const version = query.get('resourceVersion') ?? '';
  const wantsInitial = query.has('sendInitialEvents');
  const forbid = (field: string, why: string) => forbiddenField(field, `${field} is forbidden ${why}`);
  const causes: Cause[] = [];
  if (match !== '' && isWatch && !wantsInitial) {
    causes.push(forbid('resourceVersionMatch', 'for watch unless sendInitialEvents is provided'));
  } else if (match !== '' && !isWatch && version === '') {
    causes.push(forbid('resourceVersionMatch', 'unless resourceVersion is provided'));
  } else if (match === 'Exact' && version === '0') {
    const why = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"';
    causes.push(forbiddenField('resourceVersionMatch', why));
  } else if (match !== '' && !matchWords.some((known) => known === match)) {
    causes.push(notSupported('resourceVersionMatch', match, [...matchWords, '']));
  }
  if (wantsInitial && !isWatch) causes.push(forbid('sendInitialEvents', 'for list'));
  if (wantsInitial && isWatch && match !== 'NotOlderThan') {
    const why = 'sendInitialEvents requires setting resourceVersionMatch to NotOlderThan';
    causes.push(forbiddenField('resourceVersionMatch', why));
  }
  // So answers 1.33, where WatchList is off.
  if (wantsInitial && isWatch) {
    causes.push(forbid('sendInitialEvents', 'for watch unless the WatchList feature gate is enabled'));
  }
  if (causes.length > 0) throw invalid({ group: 'meta.k8s.io', resource: 'ListOptions' }, causes);
}

/** `resourceVersion` of a query; null where none is said. @throws ApiError by what is given for a text that is none */
export function revisionOf(query: URLSearchParams, fault: (message: string) => ApiError): number | null {
  const text = query.get('resourceVersion') ?? '';
  if (text === '') return null;
  if (/^\d{1,15}$/.test(text)) return Number(text);
  const quoted = JSON.stringify(text);
  throw fault(
    `resourceVersion: Invalid value: ${quoted}: strconv.ParseUint: parsing ${quoted}: invalid syntax`,
  );
}

/** @throws ApiError 504 for a version that is not there yet */
export function checkReached(wanted: number, { revision }: ObjectStore): void {
  if (wanted <= revision) return;
  const message = `Timeout: Too large resource version: ${wanted}, current: ${revision}`;
  const causes = [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }];
  throw new ApiError(504, 'Timeout', message, { causes, retryAfterSeconds: 1 }, 1);
}
