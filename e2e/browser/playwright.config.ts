import { defineConfig } from '@playwright/test';

export default defineConfig({
  testDir: 'tests',
  // Each test runs encoders and decoders of its own: side by side they would starve each other.
  workers: 1,
  fullyParallel: false,
  forbidOnly: true,
  timeout: 90_000,
  expect: { timeout: 20_000 },
  reporter: [['list']],
  outputDir: 'test-results',
});
