import type { ResourceRequest } from './api-request.ts';
import { type Cause, forbiddenField, invalid, invalidValue, notSupported, tooLong } from './status.ts';

const kinds: Readonly<Record<string, string>> = {
  create: 'CreateOptions',
  update: 'UpdateOptions',
  patch: 'PatchOptions',
};

const mostManagerBytes = 128;

/** What a write asks for beside its body. @throws ApiError 422 for what no write takes */
export function checkWriteOptions({ verb, query }: ResourceRequest, isApply: boolean): void {
  const causes: Cause[] = [];
  const manager = query.get('fieldManager') ?? '';
  if (Buffer.byteLength(manager) > mostManagerBytes) causes.push(tooLong('fieldManager', mostManagerBytes));
  if (/[^\p{L}\p{M}\p{N}\p{P}\p{S} ]/u.test(manager)) {
    causes.push(invalidValue('fieldManager', manager, 'should only contain printable characters'));
  }
  const validation = query.get('fieldValidation') ?? '';
  const known = ['', 'Ignore', 'Strict', 'Warn'];
  if (!known.includes(validation)) causes.push(notSupported('fieldValidation', validation, known));
  if (query.has('force') && verb === 'patch' && !isApply) {
    causes.push(forbiddenField('force', 'may not be specified for non-apply patch'));
  }
  if (causes.length > 0)
    throw invalid({ group: 'meta.k8s.io', resource: kinds[verb] ?? 'PatchOptions' }, causes);
}
