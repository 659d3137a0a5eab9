import { after } from 'mocha';
import { type ApiServer, openApiServer } from '../../swtpm-fixtures/api-server/api-server.ts';
import { administrator } from '../../swtpm-fixtures/api-server/users.ts';
import { describeStory } from './story.ts';

let api: ApiServer | undefined;
after(() => api?.[Symbol.asyncDispose]());

describeStory('the cluster of the tests', async () => {
  api = await openApiServer({ settleMs: 50 });
  return api.kubeconfig(administrator);
});
