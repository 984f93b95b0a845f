# Programs: hosts by lag, their probes and settings, jobs, and what drift sets off.
mock_provider "azurerm" {
  source = "./tests/mocks"
}

variables {
  resource_group_name = "twinge-test"
  resource_group_id   = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test"
  location            = "westeurope"
  tags                = {}
  base_name           = "twinge-test"
  lake_keep_days      = 400
  metrics             = ["twinge_events_total", "twinge_lag_seconds"]
  host                = { replicas_least = 2, replicas_most = 8, cpu = 1, lag_events = 50000 }

  insights_connection_string = "InstrumentationKey=00000000-0000-0000-0000-000000000005"

  network = {
    network_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.Network/virtualNetworks/twinge-test"
    subnet_id  = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.Network/virtualNetworks/twinge-test/subnets/programs"
  }

  identities = {
    host    = { id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.ManagedIdentity/userAssignedIdentities/host", client_id = "00000000-0000-0000-0000-0000000000c1", principal_id = "00000000-0000-0000-0000-0000000000d1" }
    trainer = { id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.ManagedIdentity/userAssignedIdentities/trainer", client_id = "00000000-0000-0000-0000-0000000000c2", principal_id = "00000000-0000-0000-0000-0000000000d2" }
    keeper  = { id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.ManagedIdentity/userAssignedIdentities/keeper", client_id = "00000000-0000-0000-0000-0000000000c3", principal_id = "00000000-0000-0000-0000-0000000000d3" }
  }

  programs = {
    image_server    = "twingetest.azurecr.io"
    host_image      = "twingetest.azurecr.io/twinge-host:1.0.0"
    trainer_image   = "twingetest.azurecr.io/twinge-trainer:1.0.0"
    collector_image = "twingetest.azurecr.io/otel-collector:0.139.0"
    trust_root      = "{}"
  }

  host_environment = {
    EVENTHUB_NAME = "events"
    TWINGE_LAKE   = "abfss://lake@twingelake.dfs.core.windows.net"
    TWINGE_LISTEN = "0.0.0.0:8080"
    TWINGE_STATE  = "/var/lib/twinge"
    TWINGE_TRUST  = "/etc/twinge/root.json"
  }

  trainer_environment = {
    TWINGE_LAKE     = "abfss://lake@twingelake.dfs.core.windows.net"
    TWINGE_REGISTRY = "https://twingereg.blob.core.windows.net/registry"
  }

  scaler = { namespace_name = "twinge-test-00000", hub = "events", group = "host", account_name = "twingeckpt", container = "checkpoints" }

  retraining = { schedule = "0 3 * * 1", config = "name = \"pump-pressure\"", key_secret_uri = "https://twinge-test.vault.azure.net/secrets/twinge-retrainer-key", timeout_minutes = 120, cpu = 2 }
}

run "hosts" {
  module {
    source = "./modules/compute"
  }

  assert {
    condition = (
      jsondecode(azurerm_resource_group_template_deployment.host["this"].template_content).resources[0].properties.template.scale.minReplicas == 2
      && jsondecode(azurerm_resource_group_template_deployment.host["this"].template_content).resources[0].properties.template.scale.maxReplicas == 8
    )
    error_message = "there must be between replicas_least and replicas_most hosts"
  }

  assert {
    condition = jsondecode(azurerm_resource_group_template_deployment.host["this"].template_content).resources[0].properties.template.scale.rules == [{
      name = "waiting-events"
      custom = {
        type     = "azure-eventhub"
        identity = var.identities["host"].id
        metadata = {
          activationUnprocessedEventThreshold = "0"
          blobContainer                       = "checkpoints"
          checkpointStrategy                  = "blobMetadata"
          consumerGroup                       = "host"
          eventHubName                        = "events"
          eventHubNamespace                   = "twinge-test-00000"
          storageAccountName                  = "twingeckpt"
          unprocessedEventThreshold           = "50000"
        }
      }
    }]
    error_message = "hosts must follow the lag, which is seen by the host's identity and without any key"
  }

  assert {
    condition = { for probe in jsondecode(azurerm_resource_group_template_deployment.host["this"].template_content).resources[0].properties.template.containers[0].probes : probe.type => "${probe.httpGet.path} ${probe.httpGet.port}" } == {
      Startup   = "/livez 8080"
      Liveness  = "/livez 8080"
      Readiness = "/readyz 8080"
    }
    error_message = "probes must ask what the host answers, where it listens"
  }

  assert {
    condition = { for variable in jsondecode(azurerm_resource_group_template_deployment.host["this"].template_content).resources[0].properties.template.containers[0].env : variable.name => variable.value } == merge(
      tomap(var.host_environment), { AZURE_CLIENT_ID = "00000000-0000-0000-0000-0000000000c1", OTEL_EXPORTER_OTLP_ENDPOINT = "http://127.0.0.1:4318" }
    )
    error_message = "the host must get the settings that are told, who it is, and where the collector is"
  }

  assert {
    condition = (
      jsondecode(azurerm_resource_group_template_deployment.host["this"].template_content).resources[0].properties.template.volumes[0].secrets[0].path == "root.json"
      && jsondecode(azurerm_resource_group_template_deployment.host["this"].template_content).resources[0].properties.template.containers[0].volumeMounts[0].mountPath == "/etc/twinge"
    )
    error_message = "the root of trust must lie where TWINGE_TRUST looks"
  }

  assert {
    condition     = !contains(keys(jsondecode(azurerm_resource_group_template_deployment.host["this"].template_content).resources[0].properties.configuration), "ingress")
    error_message = "hosts take events from the hub: no door may lead to them"
  }

  assert {
    condition     = !strcontains(azurerm_resource_group_template_deployment.host["this"].template_content, "InstrumentationKey")
    error_message = "no key may stand in a template: it is a parameter that Azure does not show"
  }

  assert {
    condition = (
      jsondecode(jsondecode(azurerm_resource_group_template_deployment.host["this"].template_content).resources[0].properties.template.containers[1].env[0].value).receivers.otlp.protocols.http.endpoint
      == "127.0.0.1:4318"
    )
    error_message = "the collector must listen where the host sends, and to nobody outside of the replica"
  }

  assert {
    condition = (
      jsondecode(jsondecode(azurerm_resource_group_template_deployment.host["this"].template_content).resources[0].properties.template.containers[1].env[0].value).processors.filter.metrics.include
      == { match_type = "strict", metric_names = ["twinge_events_total", "twinge_lag_seconds"] }
    )
    error_message = "the collector must keep the metrics that rules name, and no others"
  }

  # In this order: what is not kept costs nothing further on, and of each replica its own counts are told apart.
  assert {
    condition = (
      jsondecode(jsondecode(azurerm_resource_group_template_deployment.host["this"].template_content).resources[0].properties.template.containers[1].env[0].value).service.pipelines.metrics
      == { receivers = ["otlp"], processors = ["memory_limiter", "filter", "resource", "cumulativetodelta", "batch"], exporters = ["azuremonitor"] }
      && jsondecode(jsondecode(azurerm_resource_group_template_deployment.host["this"].template_content).resources[0].properties.template.containers[1].env[0].value).processors.cumulativetodelta.initial_value == "keep"
    )
    error_message = "counts must leave as what was added, from the first on: rules sum them"
  }

  assert {
    condition = (
      azurerm_container_app_environment.this.internal_load_balancer_enabled && azurerm_container_app_environment.this.public_network_access == "Disabled"
      && azurerm_container_app_environment.this.zone_redundancy_enabled
    )
    error_message = "in a network, programs must be reached from within it alone, and stand in more than one building"
  }
}

run "jobs" {
  module {
    source = "./modules/compute"
  }

  assert {
    condition = (
      azurerm_container_app_job.retrain["retrain"].schedule_trigger_config[0].cron_expression == "0 3 * * 1"
      && contains(azurerm_container_app_job.retrain["retrain"].template[0].container[0].args, "schedule")
      && contains(azurerm_container_app_job.retrain["retrain-drift"].template[0].container[0].args, "drift")
      && length(azurerm_container_app_job.retrain["retrain-drift"].manual_trigger_config) == 1
    )
    error_message = "the trainer must run by the clock and after drift, and tell which it was"
  }

  assert {
    condition = alltrue([for job in azurerm_container_app_job.retrain :
      one([for secret in job.secret : secret if secret.name == "retrainer-key"]).key_vault_secret_id == "https://twinge-test.vault.azure.net/secrets/twinge-retrainer-key"
      && one([for secret in job.secret : secret if secret.name == "retrainer-key"]).identity == var.identities["trainer"].id
      && one([for variable in job.template[0].container[0].env : variable.value if variable.name == "TWINGE_SIGNING_KEY"]) == "/etc/twinge/retrainer-key"
    ])
    error_message = "the retrainer's key must come from the vault, by the trainer's identity, to where the trainer looks"
  }

  assert {
    condition     = alltrue([for job in azurerm_container_app_job.retrain : job.replica_retry_limit == 0 && job.replica_timeout_in_seconds == 7200])
    error_message = "what gates refused must not be tried again, and no training may run for ever"
  }

  # With what stands in that file the programs are tested.
  assert {
    condition = alltrue([
      for name, job in merge({ retrain = azurerm_container_app_job.retrain["retrain"] }, { for name, job in azurerm_container_app_job.keep : name => job }) :
      jsonencode(job.template[0].container[0].args) == jsonencode(jsondecode(file("tests/programs.json"))[name].arguments)
      && { for variable in job.template[0].container[0].env : variable.name => variable.value } == jsondecode(file("tests/programs.json"))[name].variables
    ])
    error_message = "jobs must be started as tests/programs.json says"
  }

  assert {
    condition = (
      azurerm_logic_app_workflow.drift["retrain-drift"].access_control[0].trigger[0].allowed_caller_ip_address_range == toset(["192.0.2.0/28"])
      && endswith(jsondecode(azurerm_logic_app_action_custom.drift["retrain-drift"].body).actions.job.inputs.uri, "/start?api-version=2024-03-01")
      && azurerm_role_assignment.drift["retrain-drift"].role_definition_name == "Container Apps Jobs Operator"
      && azurerm_role_assignment.drift["retrain-drift"].scope == azurerm_container_app_job.retrain["retrain-drift"].id
    )
    error_message = "the workflow must be called by Azure Monitor alone, and may start one job"
  }
}

run "before_images_are_there" {
  variables {
    programs = null
    network  = null
  }

  module {
    source = "./modules/compute"
  }

  assert {
    condition = (
      length(azurerm_resource_group_template_deployment.host) == 0 && length(azurerm_container_app_job.retrain) == 0
      && length(azurerm_container_app_job.keep) == 0 && length(azurerm_logic_app_workflow.drift) == 0
    )
    error_message = "nothing may be made that wants an image"
  }
}
