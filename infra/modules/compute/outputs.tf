output "environment_id" {
  description = "Where programs run."
  value       = azurerm_container_app_environment.this.id
}

output "default_domain" {
  description = "What names of programs end with."
  value       = azurerm_container_app_environment.this.default_domain
}

output "zone_names" {
  description = "The zone in DNS of the programs' names; none where names are public."
  value       = azurerm_private_dns_zone.programs[*].name
}

output "host_ids" {
  description = "The app of hosts; none until images are there."
  value       = [for key in keys(local.programs) : "${var.resource_group_id}/providers/Microsoft.App/containerApps/${var.base_name}-host"]

  depends_on = [azurerm_resource_group_template_deployment.host]
}

output "retrain_action_group_ids" {
  description = "What an alert of drift calls; none where nothing is retrained."
  value       = [for group in azurerm_monitor_action_group.drift : group.id]
}

output "job_names" {
  description = "The jobs: retraining and keeping the lake."
  value       = concat([for job in azurerm_container_app_job.retrain : job.name], [for job in azurerm_container_app_job.keep : job.name])
}
