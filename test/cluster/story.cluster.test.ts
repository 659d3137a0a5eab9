import { kubeconfigOfTests } from './kubeconfig-of-tests.ts';
import { describeStory } from './story.ts';

describeStory('a cluster', kubeconfigOfTests());
