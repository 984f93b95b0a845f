# Hosts, one for each so many events that wait. They share the partitions by their checkpoints in storage, so
# one may come and go at any time and has no disk of its own that anybody would miss.
#
# This is a template because the provider has no `identity` on a scaling rule (docs/decisions/0042): with
# keys off, KEDA has to look at hub and checkpoints as somebody.
locals {
  # Who the host is, and the collector beside it, are known here alone: on somebody's own machine a host has neither.
  host_variables = merge(var.host_environment, {
    AZURE_CLIENT_ID             = var.identities["host"].client_id
    OTEL_EXPORTER_OTLP_ENDPOINT = "http://${local.collector_address}"
  })

  port = tonumber(split(":", var.host_environment["TWINGE_LISTEN"])[1])

  collector_cpu     = 0.25
  collector_address = "127.0.0.1:4318"

  # JSON is YAML too. The host sends all of its metrics every minute, by the names of /metrics; those that nobody
  # asks for end here. What comes as a growing count leaves as what was added, so that queries can sum. A count is
  # told from its first value on: that of a first dead letter or a first failure is 1 and not 0, and would be lost.
  collector_settings = jsonencode({
    receivers = { otlp = { protocols = { http = { endpoint = local.collector_address } } } }
    processors = {
      memory_limiter = { check_interval = "1s", limit_mib = 400 }
      resource = {
        attributes = [
          { key = "service.name", value = "host", action = "upsert" },
          { key = "service.instance.id", value = "$${env:CONTAINER_APP_REPLICA_NAME}", action = "upsert" },
        ]
      }
      filter            = { metrics = { include = { match_type = "strict", metric_names = var.metrics } } }
      cumulativetodelta = { initial_value = "keep" }
      batch             = {}
    }
    exporters = { azuremonitor = {} }
    service = {
      telemetry = { metrics = { level = "none" } }
      pipelines = {
        metrics = {
          receivers  = ["otlp"]
          processors = ["memory_limiter", "filter", "resource", "cumulativetodelta", "batch"]
          exporters  = ["azuremonitor"]
        }
      }
    }
  })

  probe = { scheme = "HTTP", port = local.port }

  host_template = {
    for key, programs in local.programs : key => {
      "$schema"      = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
      contentVersion = "1.0.0.0"
      parameters = {
        trustRoot = { type = "string" }
        insights  = { type = "securestring" }
      }
      resources = [{
        type       = "Microsoft.App/containerApps"
        apiVersion = "2025-01-01"
        name       = "${var.base_name}-host"
        location   = var.location
        tags       = var.tags
        identity = {
          type                   = "UserAssigned"
          userAssignedIdentities = { (var.identities["host"].id) = {} }
        }
        properties = {
          environmentId       = azurerm_container_app_environment.this.id
          workloadProfileName = "Consumption"
          configuration = {
            activeRevisionsMode  = "Single"
            maxInactiveRevisions = 5
            registries           = [{ server = programs.image_server, identity = var.identities["host"].id }]
            secrets = [
              { name = "trust-root", value = "[parameters('trustRoot')]" },
              { name = "insights", value = "[parameters('insights')]" },
            ]
          }
          template = {
            terminationGracePeriodSeconds = 60
            containers = [
              {
                name      = "host"
                image     = programs.host_image
                resources = { cpu = var.host.cpu, memory = "${var.host.cpu * 2}Gi" }
                env       = [for name in sort(keys(local.host_variables)) : { name = name, value = local.host_variables[name] }]
                volumeMounts = [
                  { volumeName = "settings", mountPath = "/etc/twinge" },
                  { volumeName = "state", mountPath = "/var/lib/twinge" },
                ]
                probes = [
                  { type = "Startup", httpGet = merge(local.probe, { path = "/livez" }), periodSeconds = 5, failureThreshold = 60, timeoutSeconds = 3 },
                  { type = "Liveness", httpGet = merge(local.probe, { path = "/livez" }), periodSeconds = 15, failureThreshold = 4, timeoutSeconds = 5 },
                  { type = "Readiness", httpGet = merge(local.probe, { path = "/readyz" }), periodSeconds = 10, failureThreshold = 3, timeoutSeconds = 5 },
                ]
              },
              {
                name      = "collector"
                image     = programs.collector_image
                args      = ["--config=env:COLLECTOR_SETTINGS"]
                resources = { cpu = local.collector_cpu, memory = "${local.collector_cpu * 2}Gi" }
                env = [
                  { name = "COLLECTOR_SETTINGS", value = local.collector_settings },
                  { name = "APPLICATIONINSIGHTS_CONNECTION_STRING", secretRef = "insights" },
                ]
              },
            ]
            volumes = [
              { name = "settings", storageType = "Secret", secrets = [{ secretRef = "trust-root", path = "root.json" }] },
              { name = "state", storageType = "EmptyDir" },
            ]
            scale = {
              minReplicas     = var.host.replicas_least
              maxReplicas     = var.host.replicas_most
              pollingInterval = 30
              cooldownPeriod  = 300
              rules = [{
                name = "waiting-events"
                custom = {
                  type     = "azure-eventhub"
                  identity = var.identities["host"].id
                  metadata = {
                    eventHubNamespace                   = var.scaler.namespace_name
                    eventHubName                        = var.scaler.hub
                    consumerGroup                       = var.scaler.group
                    storageAccountName                  = var.scaler.account_name
                    blobContainer                       = var.scaler.container
                    checkpointStrategy                  = "blobMetadata"
                    unprocessedEventThreshold           = tostring(var.host.lag_events)
                    activationUnprocessedEventThreshold = "0"
                  }
                }
              }]
            }
          }
        }
      }]
    }
  }
}

resource "azurerm_resource_group_template_deployment" "host" {
  for_each = local.programs

  name                = "${var.base_name}-host"
  resource_group_name = var.resource_group_name
  deployment_mode     = "Incremental"
  tags                = var.tags
  template_content    = jsonencode(local.host_template[each.key])

  parameters_content = jsonencode({
    trustRoot = { value = each.value.trust_root }
    insights  = { value = var.insights_connection_string }
  })
}
