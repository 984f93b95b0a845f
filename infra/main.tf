# One deployment of Twinge: events in, verdicts out, modules, lake, programs, and who is told. What each part
# is for stands in its module. docs/deployment.md goes through it step by step.
data "azurerm_client_config" "current" {}

locals {
  is_private = !var.public_access

  listen_port = 8080

  programs = var.release == null ? null : {
    image_server    = module.registry.server
    host_image      = "${module.registry.server}/twinge-host:${var.release.tag}"
    trainer_image   = "${module.registry.server}/twinge-trainer:${var.release.tag}"
    collector_image = "${module.registry.server}/otel-collector:${var.collector_tag}"
    trust_root      = var.release.trust_root
  }

  # The settings that programs read, here and wherever else they run. Who a program is to Azure is no setting:
  # that follows from where it runs.
  host_environment = {
    EVENTHUB_CONSUMER_GROUP   = module.ingest.host_group
    EVENTHUB_NAME             = "events"
    EVENTHUB_NAMESPACE        = module.ingest.namespace_host
    TWINGE_ALERTS__HUB        = "hub:alerts"
    TWINGE_ALERTS__LOG        = "true"
    TWINGE_CHANNEL            = var.channel
    TWINGE_CHECKPOINTS        = module.storage.checkpoints_url
    TWINGE_CHECKPOINT_SECONDS = tostring(var.checkpoint_seconds)
    TWINGE_OWNERSHIP_SECONDS  = tostring(var.ownership_seconds)
    TWINGE_DEAD_LETTERS       = "hub:dead-letters"
    TWINGE_DETECTOR           = var.detector
    TWINGE_LAKE               = module.storage.lake_url
    TWINGE_LISTEN             = "0.0.0.0:${local.listen_port}"
    TWINGE_REGISTRY           = module.storage.registry_url
    TWINGE_STATE              = "/var/lib/twinge"
    TWINGE_TRUST              = "/etc/twinge/root.json"
    TWINGE_VERDICTS           = "hub:verdicts"
  }

  trainer_environment = {
    EVENTHUB_NAME      = "events"
    EVENTHUB_NAMESPACE = module.ingest.namespace_host
    TWINGE_CHANNEL     = var.channel
    TWINGE_LAKE        = module.storage.lake_url
    TWINGE_REGISTRY    = module.storage.registry_url
  }

  # People's trainers track at MLflow; the job has no token for it and keeps its runs in the registry.
  people_environment = var.learning ? { MLFLOW_TRACKING_URI = one(module.learning[*].tracking_uri) } : {}

  uplink = var.iot_hub_units > 0 ? {
    TWINGE_UPLINK__CONNECTION_STRING_FILE = "/etc/twinge/uplink.secret"
    TWINGE_UPLINK__KIND                   = "iothub"
    } : var.send_keys ? {
    TWINGE_UPLINK__CONNECTION_STRING_FILE = "/etc/twinge/uplink.secret"
    TWINGE_UPLINK__HUB                    = "verdicts"
    TWINGE_UPLINK__KIND                   = "eventhubs"
  } : {}

  rights = var.device_rights && var.release != null ? { TWINGE_RIGHTS = one(module.edge[*].rights_url) } : {}

  edge_agent_environment = merge(local.uplink, local.rights, {
    TWINGE_CHANNEL        = var.channel
    TWINGE_DETECTOR       = var.detector
    TWINGE_POLL_SECONDS   = tostring(var.device_poll_seconds)
    TWINGE_REGISTRY       = module.storage.registry_url
    TWINGE_REPORT_SECONDS = tostring(var.device_report_seconds)
    TWINGE_STATE          = "/var/lib/twinge-edge"
    TWINGE_TRUST          = "/etc/twinge/root.json"
  })

  has_edge = var.device_rights || var.iot_hub_units > 0
}

module "names" {
  source = "./modules/names"

  name            = var.name
  environment     = var.environment
  subscription_id = data.azurerm_client_config.current.subscription_id
  tags            = var.tags
}

resource "azurerm_resource_group" "this" {
  name     = module.names.base
  location = var.location
  tags     = module.names.tags
}

module "network" {
  source = "./modules/network"
  count  = local.is_private ? 1 : 0

  resource_group_name = azurerm_resource_group.this.name
  location            = var.location
  tags                = module.names.tags
  base_name           = module.names.base
  address_space       = var.address_space
}

module "ingest" {
  source = "./modules/ingest"

  resource_group_name  = azurerm_resource_group.this.name
  location             = var.location
  tags                 = module.names.tags
  namespace_name       = module.names.unique
  public_access        = var.public_access
  send_keys            = var.send_keys
  throughput_units     = var.throughput_units
  partitions           = var.partitions
  retention_hours      = var.retention_hours
  capture              = var.capture_days == null ? null : { storage_account_id = module.storage.account_ids["lake"], container = "capture" }
  capture_container_id = var.capture_days == null ? null : module.storage.container_ids["capture"]
}

module "storage" {
  source = "./modules/storage"

  resource_group_name = azurerm_resource_group.this.name
  location            = var.location
  tags                = module.names.tags
  account_names       = module.names.accounts
  public_access       = var.public_access
  replication         = var.replication
  deleted_days        = var.deleted_days
  version_days        = var.version_days
  report_days         = var.report_days
  cool_days           = var.lake_cool_days
  capture_days        = var.capture_days
}

module "registry" {
  source = "./modules/registry"

  resource_group_name = azurerm_resource_group.this.name
  location            = var.location
  tags                = module.names.tags
  name                = module.names.compact
  public_access       = var.public_access
}

module "secrets" {
  source = "./modules/secrets"

  resource_group_name = azurerm_resource_group.this.name
  location            = var.location
  tags                = module.names.tags
  name                = module.names.unique
  tenant_id           = data.azurerm_client_config.current.tenant_id
  public_access       = var.public_access
  deleted_days        = var.environment == "prod" ? 90 : 7
}

module "site" {
  source = "./modules/site"
  count  = var.site ? 1 : 0

  resource_group_name = azurerm_resource_group.this.name
  location            = var.location
  tags                = module.names.tags
  account_name        = module.names.accounts["site"]
  replication         = var.replication
  public_access       = var.public_access
}

module "identity" {
  source = "./modules/identity"

  resource_group_name = azurerm_resource_group.this.name
  location            = var.location
  tags                = module.names.tags
  base_name           = module.names.base
  hub_ids             = module.ingest.hub_ids
  container_ids       = module.storage.container_ids
  registry_account_id = module.storage.account_ids["registry"]
  image_registry_id   = module.registry.id
  vault_id            = module.secrets.id
  retrains            = var.retraining != null
  github_repository   = var.github_repository
  has_site            = var.site
  has_online_endpoint = var.online_endpoint != null
  site_container_id   = one(module.site[*].container_id)
  operators           = var.operators
}

module "compute" {
  source = "./modules/compute"

  resource_group_name = azurerm_resource_group.this.name
  resource_group_id   = azurerm_resource_group.this.id
  location            = var.location
  tags                = module.names.tags
  base_name           = module.names.base
  network             = local.is_private ? { network_id = module.network[0].network_id, subnet_id = module.network[0].programs_subnet_id } : null
  programs            = local.programs
  identities          = module.identity.identities
  host_environment    = local.host_environment
  trainer_environment = local.trainer_environment
  host                = var.host
  lake_keep_days      = var.lake_keep_days
  metrics             = module.observe.metrics

  insights_connection_string = module.observe.insights_connection_string

  scaler = {
    namespace_name = module.ingest.namespace_name
    hub            = "events"
    group          = module.ingest.host_group
    account_name   = module.storage.account_names["checkpoints"]
    container      = "checkpoints"
  }

  retraining = var.retraining == null ? null : {
    schedule        = var.retraining.schedule
    config          = var.retraining.config
    key_secret_uri  = "${module.secrets.uri}secrets/${module.identity.retrainer_key_secret}"
    timeout_minutes = var.retraining.timeout_minutes
    cpu             = var.retraining.cpu
  }
}

module "edge" {
  source = "./modules/edge"
  count  = local.has_edge ? 1 : 0

  resource_group_name = azurerm_resource_group.this.name
  location            = var.location
  tags                = module.names.tags
  base_name           = module.names.base
  unique_name         = module.names.unique
  public_access       = var.public_access
  environment_id      = module.compute.environment_id
  default_domain      = module.compute.default_domain
  identity            = module.identity.identities["devices"]
  registry_url        = module.storage.registry_url
  detector            = var.detector
  channel             = var.channel
  rights_days         = var.device_rights_days
  operators           = var.operators

  programs = !var.device_rights || local.programs == null ? null : {
    image_server = local.programs.image_server
    host_image   = local.programs.host_image
    trust_root   = local.programs.trust_root
  }

  iot_hub = var.iot_hub_units == 0 ? null : {
    units                 = var.iot_hub_units
    verdicts_hub_id       = module.ingest.hub_ids["verdicts"]
    verdicts_hub_name     = "verdicts"
    verdicts_endpoint_uri = "sb://${module.ingest.namespace_host}"
  }
}

module "learning" {
  source = "./modules/learning"
  count  = var.learning ? 1 : 0

  resource_group_name = azurerm_resource_group.this.name
  resource_group_id   = azurerm_resource_group.this.id
  location            = var.location
  tags                = module.names.tags
  base_name           = module.names.base
  account_name        = module.names.accounts["learning"]
  replication         = var.replication
  deleted_days        = var.deleted_days
  public_access       = var.public_access
  vault_id            = module.secrets.id
  insights_id         = module.observe.insights_id
  image_registry_id   = module.registry.id

  online_endpoint = var.online_endpoint == null ? null : {
    image         = var.online_endpoint.image
    instance_type = var.online_endpoint.instance_type
    instances     = var.online_endpoint.instances
    identity_id   = module.identity.identities["score"].id
    variables = {
      AZURE_CLIENT_ID = module.identity.identities["score"].client_id
      TWINGE_CHANNEL  = var.channel
      TWINGE_DETECTOR = var.detector
      TWINGE_LISTEN   = "0.0.0.0:${local.listen_port}"
      TWINGE_REGISTRY = module.storage.registry_url
      TWINGE_STATE    = "/state"
      TWINGE_TRUST    = "/etc/twinge/root.json"
    }
  }
}

module "observe" {
  source = "./modules/observe"

  resource_group_name      = azurerm_resource_group.this.name
  location                 = var.location
  tags                     = module.names.tags
  base_name                = module.names.base
  public_access            = var.public_access
  emails                   = var.alert_emails
  webhooks                 = var.alert_webhooks
  retention_days           = var.log_retention_days
  daily_gb                 = var.log_daily_gb
  always_runs              = var.release != null && var.host.replicas_least > 0
  host_ids                 = module.compute.host_ids
  replicas_most            = var.host.replicas_most
  namespace_id             = module.ingest.namespace_id
  throughput_units_most    = var.throughput_units.most
  vault_id                 = module.secrets.id
  storage_account_ids      = module.storage.account_ids
  image_registry_id        = module.registry.id
  environment_id           = module.compute.environment_id
  retrain_action_group_ids = module.compute.retrain_action_group_ids
}

module "endpoints" {
  source = "./modules/endpoints"
  count  = local.is_private ? 1 : 0

  resource_group_name = azurerm_resource_group.this.name
  location            = var.location
  tags                = module.names.tags
  base_name           = module.names.base
  network_id          = module.network[0].network_id
  subnet_id           = module.network[0].endpoints_subnet_id

  endpoints = merge(
    {
      lake        = { resource_id = module.storage.account_ids["lake"], subresource = "blob" }
      lake-dfs    = { resource_id = module.storage.account_ids["lake"], subresource = "dfs" }
      modules     = { resource_id = module.storage.account_ids["registry"], subresource = "blob" }
      checkpoints = { resource_id = module.storage.account_ids["checkpoints"], subresource = "blob" }
      hubs        = { resource_id = module.ingest.namespace_id, subresource = "namespace" }
      vault       = { resource_id = module.secrets.id, subresource = "vault" }
      images      = { resource_id = module.registry.id, subresource = "registry" }
      telemetry   = { resource_id = one(module.observe.private_link_scope_ids), subresource = "azuremonitor" }
    },
    var.site ? {
      page       = { resource_id = module.site[0].account_id, subresource = "web" }
      page-files = { resource_id = module.site[0].account_id, subresource = "blob" }
    } : {},
    var.learning ? {
      learning       = { resource_id = module.learning[0].workspace_id, subresource = "amlworkspace" }
      learning-files = { resource_id = module.learning[0].account_id, subresource = "blob" }
    } : {},
    var.iot_hub_units > 0 ? {
      devices = { resource_id = one(module.edge[0].iot_hub_ids), subresource = "iotHub" }
    } : {},
  )
}

module "budget" {
  source = "./modules/budget"

  name              = "${module.names.base}-budget"
  resource_group_id = azurerm_resource_group.this.id
  amount            = var.budget
  emails            = var.alert_emails
  action_group_id   = module.observe.action_group_id
}
